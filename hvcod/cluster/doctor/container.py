"""The container of a process, and the launcher that started it, by their traces."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hvcod.cluster.doctor.facts import Container, Mpi4py, Outcome

_PREFIXES = ("OPAL_PREFIX", "PMIX_PREFIX", "PRTE_PREFIX")
"""Variables by which Open MPI's libraries find their plug-ins. Its mpirun exports some of them."""

_MARKS = {"/run/.containerenv": "Podman", "/.dockerenv": "Docker"}


def container(outcomes: Mapping[str, Outcome]) -> Container:
    """Finds the container, the launcher outside, and where the MPI inside comes from."""
    mpi4py: Mpi4py | None = outcomes["mpi4py"].facts
    kind, image = kind_of(os.environ)
    library = mpi4py.library if mpi4py else ""
    return Container(
        kind,
        image,
        *launcher_of(os.environ),
        bound=bool(kind and library) and is_mounted(Path(library), Path("/proc/self/mountinfo")),
        lost={
            name: path
            for name in _PREFIXES
            if (path := os.environ.get(name)) and not Path(path).exists()
        },
    )


def kind_of(environment: Mapping[str, str], root: Path = Path("/")) -> tuple[str, str]:
    """Returns the kind of the container of this process and its image; both may be empty."""
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        if environment.get(name):
            return name.partition("_")[0].title(), environment[name]
    for mark, kind in _MARKS.items():
        if (root / mark.lstrip("/")).exists():
            return kind, ""
    # Podman, systemd-nspawn and others tell the processes inside.
    return environment.get("container", ""), ""


def launcher_of(environment: Mapping[str, str]) -> tuple[str, str, str]:
    """Returns what started this process, its version, and how it speaks to its ranks.

    The last one is ``pmix`` or ``pmi``, or empty if it gives the ranks no way to find each other.
    """
    version = environment.get("OMPI_VERSION", "")
    pmi = "pmi" if "PMI_RANK" in environment or "PMI_FD" in environment else ""
    speaks = "pmix" if "PMIX_RANK" in environment else pmi
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return "Open MPI's mpirun", version, speaks or "pmix"
    if "PALS_RANKID" in environment:
        return "Cray's mpiexec (PALS)", "", speaks or "pmi"
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        return "srun", "", speaks
    return ("mpiexec of MPICH or a relative", "", speaks) if pmi else ("", "", speaks)


def is_mounted(path: Path, mounts: Path) -> bool:
    """Returns whether a file of a container comes from a mount below its root, as a bound one."""
    points = set()
    with suppress(OSError, IndexError):
        for line in mounts.read_bytes().splitlines():
            point = os.fsdecode(line.split()[4])
            points.add(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point))
    return any(str(folder) in points for folder in (path, *path.parents[:-1]))
