"""Progress of one-sided communication: who answers while a rank computes.

Some MPIs serve an access to a rank's memory only while that rank is inside an MPI call (MPICH, even
on one node); others need nothing of it (Open MPI on one node, networks with RDMA). So that no rank
waits for another one's computation, a thread then calls MPI now and then.
"""

import threading
import time

from hvcod.groups.communicator import Communicator, of_mpi
from hvcod.groups.window import Board

_BUSY = 0.1
"""Seconds for which the root stays out of MPI, to see whether others wait for it."""

_PAUSE = 0.0005
"""Seconds between two calls of MPI."""


def waits_for_target(comm: Communicator, board: Board) -> bool:
    """Returns whether access to a rank's memory waits until that rank calls MPI. Collective."""
    comm.Barrier()
    seconds = 0.0
    if comm.rank == 0:
        time.sleep(_BUSY)
    else:
        time.sleep(_BUSY / 4)
        begun = time.monotonic()
        with board.open():
            seconds = time.monotonic() - begun
    return bool(max(comm.allgather(seconds)) > _BUSY / 2)


class Progress:
    """A thread that lets MPI serve the other ranks' accesses while this rank computes."""

    def __init__(self, comm: Communicator) -> None:
        """`comm` is used by nothing else."""
        self._comm, self._closing = of_mpi(comm), threading.Event()
        self._thread = threading.Thread(target=self._run, name="hvcod-progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread. Collective."""
        self._closing.set()
        self._thread.join()
        self._comm.Free()

    def _run(self) -> None:
        while not self._closing.wait(_PAUSE):
            self._comm.Iprobe()
