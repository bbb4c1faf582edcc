"""Checks of MPI, mpi4py, Horovod and HDF5: each is installed, and they fit together."""

from hvcod.cluster.doctor.checks.finding import Finding, unusable, where
from hvcod.cluster.doctor.facts import Examination, Gpus, Hdf5, Horovod, Locks, Mpi4py

_REBUILD = (
    "build it with the mpicxx of your mpirun on PATH: bin/setup, or pip install --no-binary=mpi4py "
    "--no-cache-dir mpi4py"
)
_ONE_MPI = (
    "build both for the MPI of your launcher: load its module and run bin/setup; see that "
    "PYTHONPATH and LD_LIBRARY_PATH bring no others"
)
_WITH_MPI = "build Horovod with HOROVOD_WITH_MPI=1 and that MPI's mpicxx on PATH: bin/setup does"


def one_mpi(examination: Examination) -> Finding:
    """Checks that mpi4py and Horovod call the same libmpi, as they share a communicator."""
    broken = unusable(examination, "mpi4py", "mpi4py does not import", f"mpi4py: {_REBUILD}")
    if broken:
        return broken
    known = examination.all(Mpi4py)
    for rank, facts in known:
        horovod = rank.get(Horovod)
        if horovod and horovod.library and horovod.library != facts.library:
            found = f"mpi4py calls {facts.library or 'an unknown file'} ({short(facts.says)}), "
            return Finding("failed", f"{found}Horovod calls {horovod.library} ({rank})", _ONE_MPI)
    names = {facts.says: rank for rank, facts in known}
    if len(names) > 1:
        listed = ", ".join(f"{short(name)} on {rank}" for name, rank in names.items())
        return Finding("failed", f"ranks have several MPIs: {listed}", _ONE_MPI)
    _, first = known[0]
    both = any(facts.library for _, facts in examination.all(Horovod))
    who = "mpi4py and Horovod call" if both else "mpi4py calls"
    return Finding("ok", f"{who} {first.library or 'an unknown file'} ({short(first.says)})")


def horovod(examination: Examination) -> Finding:
    """Checks that Horovod was built with MPI, and with NCCL where there are GPUs."""
    broken = unusable(examination, "horovod", "does not import", _WITH_MPI)
    if broken:
        return broken
    known = examination.all(Horovod)
    without = [rank for rank, facts in known if not facts.mpi_built]
    if without:
        return Finding("failed", f"was built without MPI ({where(without)})", _WITH_MPI)
    with_gpu = {rank.rank for rank, facts in examination.all(Gpus) if facts.count}
    blind = [r for r, f in known if r.rank in with_gpu and not (f.cuda_built or f.rocm_built)]
    nccl = "build it with HOROVOD_GPU_OPERATIONS=NCCL: bin/setup takes the variable"
    if blind:
        found = f"torch sees a GPU, but Horovod was built without ({where(blind)})"
        return Finding("failed", found, f"{nccl}; or train with --device cpu")
    slow = [rank for rank, f in known if rank.rank in with_gpu and not f.nccl_built]
    if slow:
        found = f"was built without NCCL: gradients go through the host ({where(slow)})"
        return Finding("warning", found, nccl)
    _, first = known[0]
    more = "MPI and NCCL" if first.nccl_built else "MPI"
    return Finding("ok", f"{first.version} with {more}, torch {first.torch}")


def hdf5(examination: Examination) -> Finding:
    """Checks that HDF5 reads files in the run directory, even where they cannot be locked."""
    again = "install h5py again: pip install --force-reinstall h5py"
    failed = unusable(examination, "hdf5", "h5py does not import", again)
    if failed:
        return failed
    known = examination.all(Hdf5)
    _, first = known[0]
    text = f"HDF5 {first.hdf5}, h5py {first.h5py}"
    set_to = "" if first.locking is None else f", HDF5_USE_FILE_LOCKING={first.locking}"
    broken = [r for r in examination.ranks if r.problem("locks") and r.outcomes["locks"].reached]
    without = "export HDF5_USE_FILE_LOCKING=FALSE"
    if broken:
        found = f"{text}{set_to}: {broken[0].problem('locks')} ({where(broken)})"
        return Finding("failed", found, f"{without} if files cannot be locked there")
    unlocked = [(rank, facts) for rank, facts in examination.all(Locks) if not facts.works]
    if unlocked:
        _, facts = unlocked[0]
        found = f"{text}{set_to}; no file can be locked in the run directory: {facts.error}"
        return Finding("ok", found, f"nothing for hvcod; for other HDF5 programs: {without}")
    locked = "; files can be locked in the run directory" if examination.all(Locks) else ""
    return Finding("ok", f"{text}{set_to}{locked}")


def versions(examination: Examination) -> Finding:
    """Checks that all ranks have the same versions."""
    first = examination.first
    for rank in examination.ranks:
        for name in first.versions:
            other = rank.versions.get(name, "no")
            if name != "system" and other != first.versions[name]:
                found = f"{name} {other} on {rank}, {first.versions[name]} on {first}"
                return Finding("failed", found, "start all ranks from the same environment")
    count = len(examination.ranks)
    return Finding("ok", f"the same on {count} ranks" if count > 1 else "see below")


def short(says: str) -> str:
    """An MPI's name and version, out of its own long description."""
    return " ".join(says.partition(",")[0].replace("Version:", "").split())
