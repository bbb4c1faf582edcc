"""Agreement inside a group: at once, or a step later and without waiting."""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI


def any_rank(comm: MPI.Intracomm, *flags: bool) -> list[bool]:
    """Which of the flags at least one rank raises, at once; all ranks wait. Collective."""
    raised = np.array(flags, dtype=np.int8)
    comm.Allreduce(MPI.IN_PLACE, raised, op=MPI.MAX)
    return [bool(flag) for flag in raised]


class Agreement:
    """The largest of the values that the ranks of a group gave one call ago.

    Every rank gets the same answer at the same call, so all may act on it at the same step. The
    messages travel while the group computes; a call waits only for what was sent a step before.
    """

    def __init__(self, comm: MPI.Intracomm, first: Sequence[int]) -> None:
        """Collective over ``comm``.

        Args:
            comm: The ranks that agree; duplicated, so that messages never mix with others.
            first: What the first call answers.
        """
        self._comm = comm.Dup()
        self._given = np.array(first, dtype=np.int64)
        self._largest = self._given.copy()
        self._request = MPI.REQUEST_NULL

    def exchange(self, values: Sequence[int]) -> list[int]:
        """Gives this rank's values and answers the largest ones of the call before.

        Collective: every rank calls it equally often, with equally many values.
        """
        self._request.Wait()
        agreed: list[int] = self._largest.tolist()
        self._given[:] = values
        self._request = self._comm.Iallreduce(self._given, self._largest, op=MPI.MAX)
        return agreed

    def close(self) -> None:
        """Completes what is under way. Collective."""
        self._request.Wait()
        self._comm.Free()
