"""Agreement inside a group: at once, or a step later and without waiting."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hvcod.groups.communicator import Communicator, of_mpi, take_largest
from hvcod.spans import AGREEMENT

if TYPE_CHECKING:
    from mpi4py.MPI import Request


def any_rank(comm: Communicator, *flags: bool) -> list[bool]:
    """Returns for each flag whether any rank raises it. All ranks wait. Collective."""
    raised = np.array(flags, dtype=np.int8)
    with AGREEMENT:
        take_largest(comm, raised)
    return [bool(flag) for flag in raised]


class Agreement:
    """Tells all ranks of a group the largest of the values that they gave one call ago.

    Every rank gets the same answer at the same call, so all can act on it at the same step. The
    messages travel while the group computes; a call waits only for what was sent a step before.
    """

    def __init__(self, comm: Communicator, first: Sequence[int]) -> None:
        """`first` is the answer to the first call. Collective over ``comm``."""
        # A duplicate, so that messages never mix with others.
        self._comm = comm.Dup()
        self._sent = np.array(first, dtype=np.int64)
        self._largest = self._sent.copy()
        self._request: Request | None = None

    def exchange(self, values: Sequence[int]) -> list[int]:
        """Sends this rank's values and returns the largest ones of the call before. Collective."""
        with AGREEMENT:
            return self._exchange(values)

    def _exchange(self, values: Sequence[int]) -> list[int]:
        agreed = self.coming()
        self._sent[:] = values
        if self._comm.size > 1:
            from mpi4py import MPI

            comm = of_mpi(self._comm)
            self._request = comm.Iallreduce(self._sent, self._largest, op=MPI.MAX)
        else:
            self._largest[:] = values
        return agreed

    def coming(self) -> list[int]:
        """Returns what the next call of `exchange` is about to answer.

        Not collective, but waits until every rank has made the last call.
        """
        self._wait()
        agreed: list[int] = self._largest.tolist()
        return agreed

    def close(self) -> None:
        """Completes the last exchange. Collective."""
        self._wait()
        self._comm.Free()

    def _wait(self) -> None:
        if self._request is not None:
            self._request.Wait()
