"""Steps of a group whose ranks go at paces of their own, as in asynchronous SGD.

A step of such a group is as many updates as it has ranks, whoever makes them. The updates are
numbered, and each rank takes the next number when it is ready for one: a rank that is twice as fast
makes twice as many. Every rank goes through all steps in order, and makes none, one or several
updates in each, so that what is due after a step is due on all ranks after the same step; before it
they meet. Nothing else makes a rank wait for another one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hvcod.errors import GroupFailedError
from hvcod.groups.communicator import Communicator, of_mpi
from hvcod.groups.progress import Progress, waits_for_target
from hvcod.groups.window import Board, Window
from hvcod.spans import AGREEMENT

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

_TAKEN, _STOP, _FLAGS = 0, 1, 2  # what is where on the board
_UNSET = -1


class Notices:
    """Tells all ranks the largest of the values that any of them has given so far.

    Has the calls of `hvcod.groups.agreement.Agreement`; but no rank waits, and each may learn of a
    value at another step.
    """

    def __init__(self, board: Board, first: Sequence[int]) -> None:
        """Begins with the values of `first`, the same on all ranks."""
        self._board, self._first = board, list(first)
        self.exchange(first)

    def exchange(self, values: Sequence[int]) -> list[int]:
        """Adds this rank's values, and returns the largest ones."""
        with AGREEMENT, self._board.open() as words:
            words[:] = [max(both) for both in zip(words, values, strict=True)]
            return [int(word) for word in words]

    def coming(self) -> list[int]:
        """Returns the largest values."""
        return self.exchange(self._first)

    def close(self) -> None:
        """Does nothing: the board is the pace's."""


class Pace:
    """Turns, totals and the end of a group whose ranks go at paces of their own."""

    def __init__(self, comm: Communicator, flags: int = 3) -> None:
        """Collective over the group's trainers.

        Args:
            comm: Their communicator.
            flags: The number of reasons to stop.

        Raises:
            HvcodError: This MPI has no one-sided communication between these ranks.
        """
        self._comm, self._ranks = comm.Dup(), comm.size
        self._mail = of_mpi(comm.Dup()) if comm.size > 1 else None
        self._opened: list[Window | Board] = []
        self._board = self.board(_FLAGS + flags + 1)
        self._turn = self._step = 0
        self._failure = ""
        self._sent: list[Any] = []
        self._received: dict[str, dict[str, float]] = {}
        self._progress: Progress | None = None
        if comm.size > 1 and waits_for_target(comm, self._board):
            self._progress = Progress(comm.Dup())

    def window(self, size: int) -> Window:
        """Returns memory of so many bytes on each rank, freed at the end. Collective."""
        self._opened.append(window := Window(self._comm, size))
        return window

    def board(self, count: int) -> Board:
        """Returns numbers that all ranks read and change, freed at the end. Collective."""
        self._opened.append(board := Board(self._comm, count))
        return board

    def notices(self, first: Sequence[int]) -> Notices:
        """Returns numbers of which all ranks learn the largest. Collective."""
        return Notices(self.board(len(first)), first)

    def begin(self, step: int) -> None:
        """Goes on after so many steps, with all ranks. Collective."""
        self._turn, self._step = 0, step
        if self._comm.rank == 0:
            with self._board.open() as words:
                words[:] = 0
                words[_TAKEN], words[_STOP] = step * self._ranks, _UNSET
        self._comm.Barrier()

    def has_turn(self, step: int) -> bool:
        """Returns whether this rank makes another update in a step; takes the update, if so.

        Steps are counted from 1. Once it has returned False, the rank goes on to the next step.
        """
        self._step = step
        if not self._turn:
            with self._board.open() as words:
                words[_TAKEN] += 1
                self._turn = int(words[_TAKEN])
        if self._turn > step * self._ranks:
            return False
        self._turn = 0
        return True

    def exchange(self, flags: Sequence[bool]) -> list[bool]:
        """Returns the flags of the rank that stops the group; at the same step on all ranks.

        Called after each step, with this rank's flags. The group stops after the step in which the
        last update that anybody has begun is made.

        Raises:
            GroupFailedError: A rank has failed; on all ranks.
        """
        mine = [*flags, bool(self._failure)]
        with AGREEMENT, self._board.open() as words:
            if any(mine) and words[_STOP] == _UNSET:
                words[_STOP] = max(self._step, math.ceil(words[_TAKEN] / self._ranks))
                words[_FLAGS:] = mine
            stop = words[_STOP]
            *raised, failed = (bool(word) for word in words[_FLAGS:])
        if stop == _UNSET or self._step < stop:
            return [False] * len(flags)
        if failed:
            self.meet()
        return raised

    def fail(self, error: GroupFailedError) -> None:
        """Notes that this rank cannot go on: all ranks raise the error when they stop or meet."""
        self._failure = self._failure or str(error)

    def meet(self) -> None:
        """Waits for all ranks. Collective, after the same step on all of them.

        Raises:
            GroupFailedError: A rank has failed; on all ranks.
        """
        failures = [failure for failure in self._comm.allgather(self._failure) if failure]
        self._failure = ""
        if failures:
            raise GroupFailedError(failures[0])

    def total(self, subject: str, numbers: Mapping[str, float]) -> dict[str, float]:
        """Returns sums over the ranks: on the root, of what has come since it last asked.

        The others' numbers are on their way to it, and they get their own back. Nobody waits.
        """
        if self._mail is not None and self._comm.rank:
            self._sent = [request for request in self._sent if not request.Test()]
            self._sent.append(self._mail.isend((subject, dict(numbers)), 0))
            return dict(numbers)
        self._add(subject, numbers)
        while self._mail is not None and self._mail.iprobe():
            self._add(*self._mail.recv())
        return self._received.pop(subject)

    def close(self) -> None:
        """Ends all traffic and frees the memory. Collective."""
        if self._mail is not None:
            self._end_mail(self._mail)
        self._comm.Barrier()
        if self._progress is not None:
            self._progress.close()
        for opened in self._opened:
            opened.close()
        self._comm.Free()

    def _end_mail(self, mail: "Intracomm") -> None:
        """Completes all messages: each rank's last one says that it leaves."""
        if self._comm.rank:
            self._sent.append(mail.isend(("", {}), 0))
        leaving = 0 if self._comm.rank else self._ranks - 1
        while leaving:
            subject, _ = mail.recv()
            leaving -= not subject
        for request in self._sent:
            request.wait()
        mail.Free()

    def _add(self, subject: str, numbers: Mapping[str, float]) -> None:
        sums = self._received.setdefault(subject, {})
        sums |= {name: sums.get(name, 0.0) + number for name, number in numbers.items()}
