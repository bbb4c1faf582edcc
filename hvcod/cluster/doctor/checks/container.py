"""The check of a container: the MPI inside fits the launcher outside."""

from hvcod.cluster.doctor.checks.finding import Finding
from hvcod.cluster.doctor.checks.software import short
from hvcod.cluster.doctor.facts import Container, Examination, Mpi4py, World

_REBUILD = "build the image with --build-arg MPI="


def fit(examination: Examination) -> Finding:
    """Checks that ranks in a container find each other through the launcher outside."""
    here, mpi4py = examination.first.get(Container), examination.first.get(Mpi4py)
    if here is None or not here.kind:
        return Finding("ok", "none")
    if mpi4py is None:
        return Finding("skipped", f"{_name(here)}: mpi4py does not import")
    world: World | None = examination.outcomes["world"].facts
    inside = f"{short(mpi4py.says)} {'bound from outside' if here.bound else 'of the image'}"
    if not here.launcher and not here.speaks:
        return _without_launcher(here, inside)
    started = " ".join(filter(None, [here.launcher or "a launcher", here.launcher_version]))
    found = f"{_name(here)}: {inside}, started by {started}"
    if here.speaks:
        found += f" ({here.speaks.upper().replace('PMIX', 'PMIx')})"
    meets = world is not None and (world.size > 1 or examination.launched == 1)
    if meets:
        return Finding("ok", found)
    what = "MPI does not start" if world is None else "each rank sees a world of 1"
    return Finding("failed", f"{found}: {what}", _mend(here, mpi4py.says))


def _name(here: Container) -> str:
    return f"{here.kind} {here.image}" if here.image else here.kind


def _without_launcher(here: Container, inside: str) -> Finding:
    """Returns the finding where no variable tells of a launcher: Docker passes none inside."""
    found = f"{_name(here)}: {inside}, no sign of a launcher"
    if here.kind not in ("Apptainer", "Singularity"):
        found += " (if one started it: its variables do not reach the inside)"
    return Finding("ok", found)


def _mend(here: Container, says: str) -> str:
    """Returns one line that says what to do about an MPI inside that does not fit."""
    inside = "openmpi" if "Open MPI" in says else "mpich"
    version = short(says).rpartition(" ")[2].lstrip("v")
    if here.lost:
        name, path = next(iter(here.lost.items()))
        return f"{name}={path} is a folder of the host: start env -u {name} hvcod in the container"
    if here.launcher == "srun":
        way = "pmix" if inside == "openmpi" else "pmi2"
        return f"srun --mpi={way}, which the MPI inside speaks; srun --mpi=list shows what there is"
    if here.launcher.startswith("Open MPI") and inside == "mpich":
        same = f"openmpi=={here.launcher_version or 'VERSION'}"
        return f"{_REBUILD}{same}, the version of the mpirun outside; or start it by srun"
    if not here.launcher.startswith("Open MPI") and inside == "openmpi":
        return f"{_REBUILD}mpich==VERSION, no newer than the MPI outside; or use Open MPI's mpirun"
    if inside == "openmpi":
        outside = here.launcher_version or "that of mpirun --version"
        return (
            f"Open MPI {version} inside, {outside} outside: {_REBUILD}openmpi==VERSION of the "
            "latter, and bind /tmp, where its ranks meet"
        )
    return f"{_REBUILD}mpich==VERSION of the host, or bind the host's library over the image's"
