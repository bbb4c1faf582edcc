"""The world: all MPI ranks of one launch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from mpi4py import MPI

from hvcod.errors import HvcodError
from hvcod.groups import abort
from hvcod.groups.environment import CORES, launch_size

_SECONDS_BETWEEN_LOOKS = 0.02

Result = TypeVar("Result")


def world() -> MPI.Intracomm:
    """``MPI.COMM_WORLD``, checked; from here on a thread that fails ends the launch.

    A process without ``mpirun`` is a world of one.

    Raises:
        HvcodError: mpi4py belongs to another MPI than ``mpirun``, or threads may not use this MPI.
    """
    started = launch_size()
    if MPI.COMM_WORLD.size == 1 and started > 1:
        raise HvcodError(
            f"{started} processes were started, but each is alone in its MPI world: this launcher "
            f"belongs to another MPI than mpi4py ({_library()}); use the mpirun of that MPI, or "
            "srun --mpi=pmix"
        )
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise HvcodError(
            f"this MPI ({_library()}) does not let several threads communicate "
            "(MPI_THREAD_MULTIPLE), which Horovod beside hvcod needs; use one that was built so"
        )
    abort.abort_on_thread_failure()
    return MPI.COMM_WORLD


def on_rank_zero(world: MPI.Intracomm, function: Callable[[], Result]) -> Result:
    """Calls a function on rank 0 alone and gives its result to all ranks. Collective.

    Raises:
        HvcodError: What the function raised, on every rank.
    """
    answer: tuple[HvcodError | None, Any] = (None, None)
    if world.rank == 0:
        try:
            answer = None, function()
        except HvcodError as error:
            answer = error, None
    problem, result = world.bcast(answer)
    if problem is not None:
        raise problem
    return cast(Result, result)


def wait_quietly(world: MPI.Intracomm, meanwhile: Callable[[], object] | None = None) -> None:
    """Waits for all ranks without taking a core from those that still work. Collective.

    Args:
        world: Who must have come here.
        meanwhile: Called now and then while waiting.
    """
    request = world.Ibarrier()
    while not request.Test():
        if meanwhile:
            meanwhile()
        time.sleep(_SECONDS_BETWEEN_LOOKS)


@dataclass(frozen=True)
class Place:
    """Where a rank sits among all ranks of its launch.

    Attributes:
        node_rank: Its number among those on the same node: it picks the device.
        threads: Its computing threads, see `threads_per_rank`.
    """

    node_rank: int
    threads: int


def place_in(world: MPI.Intracomm) -> Place:
    """This rank's place. Collective over the launch."""
    node = cast(MPI.Intracomm, world.Split_type(MPI.COMM_TYPE_SHARED, world.rank))
    place = Place(node.rank, threads_per_rank(node))
    node.Free()
    return place


def threads_per_rank(node: MPI.Intracomm) -> int:
    """Computing threads for this rank: the cores it may use, shared with its neighbours on them.

    Collective over the ranks of one node. Ranks that are bound to different cores do not share.
    """
    sharing = sum(1 for other in node.allgather(CORES) if other & CORES)
    return max(1, len(CORES) // sharing)


def _library() -> str:
    return MPI.Get_library_version().partition("\n")[0].partition(",")[0].strip("\0 ")
