"""A run of one group of one rank, without a launch."""

from pathlib import Path

from mpi4py import MPI

from hvcod.groups.split import Group
from hvcod.training.run.directory import Run

ALONE = Group(0, 1, 0, 1, MPI.COMM_SELF, 0, 1)


def run_in(directory: Path) -> Run:
    """Returns a run in a directory, with the folder of its group."""
    (directory / "group-0").mkdir(parents=True, exist_ok=True)
    return Run(directory, "run-1", directory / "group-0", 4, None)
