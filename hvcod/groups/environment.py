"""The environment of a process: what the launcher tells it, before MPI; what Horovod is told."""

import contextlib
import os
import time
from pathlib import Path

CORES = frozenset(os.sched_getaffinity(0))
"""Cores that this process was given, read before torch is imported: with it comes libgomp, which
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


def launch_rank() -> int:
    """The rank that ``mpirun`` or ``srun`` gave this process; 0 without a launcher."""
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0)


def job_id() -> str:
    """The scheduler's job that this process belongs to; empty without one."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""


def is_launched() -> bool:
    """Whether ``mpirun`` or ``srun`` started this process, be it as the only one."""
    return any(name in os.environ for name in _SIZES)


def launch_size() -> int:
    """How many processes ``mpirun`` or ``srun`` started; 1 where nobody tells."""
    return next((int(os.environ[name]) for name in _SIZES if name in os.environ), 1)


def process_age() -> float:
    """Seconds since this process was started, its imports among them; 0 where nobody tells."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return 0.0


def ready_for_horovod(index: int) -> None:
    """Sets what a Horovod that is to run inside one group, given by its index, finds here."""
    # Its Gloo controller crashes when it is given a communicator.
    os.environ["HOROVOD_CONTROLLER"] = "mpi"
    os.environ["HOROVOD_CPU_OPERATIONS"] = "mpi"
    for name in _FILES_OF_A_ROOT:
        if os.environ.get(name, "DYNAMIC") not in ("", "DYNAMIC"):
            os.environ[name] = path_of_group(os.environ[name], index)


def path_of_group(path: str, index: int) -> str:
    """Every group root writes its own file: ``timeline.json`` gives ``timeline.group-1.json``."""
    place = Path(path)
    return str(place.with_name(f"{place.stem}.group-{index}{place.suffix}"))
