"""The world: all MPI ranks of one launch."""

import contextlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hvcod.errors import HvcodError
from hvcod.groups import abort
from hvcod.groups.communicator import Alone, Communicator, of_mpi
from hvcod.groups.environment import CORES, is_launched, launch_size

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

_SECONDS_BETWEEN_LOOKS = 0.02

_SEGMENT = re.compile(rb"/dev/shm/(?:mpich_shm_|sm_segment\.|vader_segment\.)\S+$", re.MULTILINE)
"""Shared memory of MPICH and Open MPI in the map of a process, unless it has lost its name."""

Result = TypeVar("Result")


def world() -> Communicator:
    """Returns the ranks of this launch; from now on a failing thread ends the launch.

    A process that no launcher started is a world of one rank, which needs no MPI.

    Raises:
        HvcodError: See `mpi_world`.
    """
    if is_launched():
        return mpi_world()
    abort.abort_on_thread_failure()
    return Alone()


def mpi_world() -> "Intracomm":
    """Returns ``MPI.COMM_WORLD``, checked; from now on a failing thread ends the launch.

    Raises:
        HvcodError: mpi4py cannot be imported or uses another MPI than ``mpirun``, or threads may
            not use this MPI.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise HvcodError(
            f"mpi4py, which a launch of several ranks needs, cannot be imported: {error}"
        ) from error
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
            "(MPI_THREAD_MULTIPLE), which hvcod and Horovod need; use one that was built with it"
        )
    abort.abort_on_thread_failure()
    leave_no_shared_memory()
    return MPI.COMM_WORLD


def leave_no_shared_memory() -> None:
    """Removes the names of MPI's shared memory, if this process is alone in its world.

    No other rank will look for it. Some MPIs (MPICH 5, Open MPI 5) would leave it in ``/dev/shm``,
    at least when the process is killed; the memory itself goes with the process.
    """
    from mpi4py import MPI

    if MPI.COMM_WORLD.size > 1:
        return
    for segment in set(_SEGMENT.findall(Path("/proc/self/maps").read_bytes())):
        with contextlib.suppress(OSError):
            Path(os.fsdecode(segment)).unlink()


def on_rank_zero(world: Communicator, function: Callable[[], Result]) -> Result:
    """Calls a function on rank 0 alone and returns its result on all ranks. Collective.

    Raises:
        HvcodError: The function raised it; it is raised on every rank.
    """
    outcome: tuple[HvcodError | None, Any] = (None, None)
    if world.rank == 0:
        try:
            outcome = None, function()
        except HvcodError as error:
            outcome = error, None
    problem, result = world.bcast(outcome)
    if problem is not None:
        raise problem
    return cast(Result, result)


def wait_quietly(world: Communicator, meanwhile: Callable[[], object] | None = None) -> None:
    """Waits until all ranks have called it, without using a core. Collective.

    Calls `meanwhile` now and then.
    """
    if world.size == 1:
        return
    request = of_mpi(world).Ibarrier()
    while not request.Test():
        if meanwhile:
            meanwhile()
        time.sleep(_SECONDS_BETWEEN_LOOKS)


@dataclass(frozen=True)
class NodeShare:
    """A rank's share of its node: its number there, which decides the device, and its threads."""

    node_rank: int
    threads: int


def node_share(world: Communicator) -> NodeShare:
    """Returns this rank's share of its node. Collective over the launch."""
    if isinstance(world, Alone):
        return NodeShare(0, threads_per_rank(world))
    from mpi4py import MPI

    node = of_mpi(world).Split_type(MPI.COMM_TYPE_SHARED, world.rank)
    share = NodeShare(node.rank, threads_per_rank(node))
    node.Free()
    return share


def threads_per_rank(node: Communicator) -> int:
    """Returns the computing threads of this rank: its part of the cores that it may use.

    Collective over the ranks of one node, which share cores unless they are bound to different
    ones.
    """
    sharing = sum(1 for other in node.allgather(CORES) if other & CORES)
    return max(1, len(CORES) // sharing)


def _library() -> str:
    from mpi4py import MPI

    return MPI.Get_library_version().partition("\n")[0].partition(",")[0].strip("\0 ")
