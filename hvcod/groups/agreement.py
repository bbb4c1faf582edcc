"""Agreement inside a group: at once, or a step later and without waiting."""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI


def any_rank(comm: MPI.Intracomm, *flags: bool) -> list[bool]:
    """Returns for each flag whether any rank raises it. All ranks wait. Collective."""
    raised = np.array(flags, dtype=np.int8)
    comm.Allreduce(MPI.IN_PLACE, raised, op=MPI.MAX)
    return [bool(flag) for flag in raised]


class Agreement:
    """Tells all ranks of a group the largest of the values that they gave one call ago.

    Every rank gets the same answer at the same call, so all can act on it at the same step. The
    messages travel while the group computes; a call waits only for what was sent a step before.
    """

    def __init__(self, comm: MPI.Intracomm, first: Sequence[int]) -> None:
        """`first` is the answer to the first call. Collective over ``comm``."""
        # A duplicate, so that messages never mix with others.
        self._comm = comm.Dup()
        self._sent = np.array(first, dtype=np.int64)
        self._largest = self._sent.copy()
        self._request = MPI.REQUEST_NULL

    def exchange(self, values: Sequence[int]) -> list[int]:
        """Sends this rank's values and returns the largest ones of the call before. Collective."""
        self._request.Wait()
        agreed: list[int] = self._largest.tolist()
        self._sent[:] = values
        self._request = self._comm.Iallreduce(self._sent, self._largest, op=MPI.MAX)
        return agreed

    def coming(self) -> list[int]:
        """Returns what the next call of `exchange` is about to answer.

        Not collective, but waits until every rank has made the last call.
        """
        self._request.Wait()
        agreed: list[int] = self._largest.tolist()
        return agreed

    def close(self) -> None:
        """Completes the last exchange. Collective."""
        self._request.Wait()
        self._comm.Free()
