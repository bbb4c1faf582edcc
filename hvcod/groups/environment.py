"""What the launcher tells a process through its environment, readable before MPI is loaded."""

import os

_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def launch_rank() -> int:
    """The rank that ``mpirun`` or ``srun`` gave this process; 0 without a launcher."""
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0)


def job_id() -> str:
    """The scheduler's job that this process belongs to; empty without one."""
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or ""


def launch_size() -> int:
    """How many processes ``mpirun`` or ``srun`` started; 1 where nobody tells."""
    return next((int(os.environ[name]) for name in _SIZES if name in os.environ), 1)
