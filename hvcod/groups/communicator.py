"""Communicators: MPI's, or that of a process that is alone and needs no MPI.

The methods have the names of mpi4py: small letters for Python objects, capitals for arrays.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm


SLICE_BYTES = 1 << 28
"""Most bytes in one operation: an MPI count is a 32-bit number."""


class Communicator(Protocol):
    """The calls of an ``mpi4py.MPI.Intracomm`` that a process makes even if it is alone.

    What takes two ranks, such as a message, is a matter of `of_mpi`.
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """The number of processes."""
        ...

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """Returns the root's object."""
        ...

    def gather(self, sendobj: Any, root: int = 0) -> list[Any] | None:
        """Returns all ranks' objects on the root."""
        ...

    def allgather(self, sendobj: Any) -> list[Any]:
        """Returns all ranks' objects."""
        ...

    def allreduce(self, sendobj: Any, op: Any = ...) -> Any:
        """Returns all ranks' objects reduced to one, by default their sum."""
        ...

    def Bcast(self, buf: Any, root: int = 0) -> None:
        """Fills an array from the root's."""
        ...

    def Gather(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Fills the root's array from all ranks' parts."""
        ...

    def Scatter(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Fills an array from its part of the root's."""
        ...

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: Any = ...) -> None:
        """Fills an array with all ranks' arrays reduced to one, by default their sum."""
        ...

    def Barrier(self) -> None:
        """Waits for all ranks."""
        ...

    def Dup(self) -> "Communicator":
        """Returns another communicator of the same ranks."""
        ...

    def Split(self, color: int = 0, key: int = 0) -> "Communicator":
        """Returns a communicator of the ranks of one colour."""
        ...

    def Free(self) -> None:
        """Gives the communicator up."""
        ...


@dataclass(frozen=True)
class Alone:
    """The communicator of one process; it imports no MPI. It hands objects on, it copies none."""

    rank: ClassVar[int] = 0
    size: ClassVar[int] = 1

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """Returns the object."""
        return obj

    def gather(self, sendobj: Any, root: int = 0) -> list[Any]:
        """Returns the object in a list."""
        return [sendobj]

    def allgather(self, sendobj: Any) -> list[Any]:
        """Returns the object in a list."""
        return [sendobj]

    def allreduce(self, sendobj: Any, op: Any = None) -> Any:
        """Returns the object."""
        return sendobj

    def Bcast(self, buf: Any, root: int = 0) -> None:
        """Leaves the array as it is."""

    def Gather(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Copies an array."""
        _copy(sendbuf, recvbuf)

    def Scatter(self, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        """Copies an array."""
        _copy(sendbuf, recvbuf)

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: Any = None) -> None:
        """Copies an array."""
        _copy(sendbuf, recvbuf)

    def Barrier(self) -> None:
        """Returns at once."""

    def Dup(self) -> Self:
        """Returns this communicator: a process that is alone mixes up no messages."""
        return self

    def Split(self, color: int = 0, key: int = 0) -> Self:
        """Returns this communicator."""
        return self

    def Free(self) -> None:
        """Does nothing."""


def of_mpi(comm: Communicator) -> "Intracomm":
    """Returns the same communicator, with everything that MPI has."""
    from mpi4py import MPI

    assert isinstance(comm, MPI.Intracomm)
    return comm


def add_up(comm: Communicator, numbers: np.ndarray) -> None:
    """Replaces an array by the sum of all ranks' arrays. Collective."""
    _reduce(comm, numbers, "SUM")


def take_largest(comm: Communicator, numbers: np.ndarray) -> None:
    """Replaces each number of an array by the largest of all ranks. Collective."""
    _reduce(comm, numbers, "MAX")


def _reduce(comm: Communicator, numbers: np.ndarray, operation: str) -> None:
    if comm.size > 1:
        from mpi4py import MPI

        comm.Allreduce(MPI.IN_PLACE, numbers, op=getattr(MPI, operation))


def _copy(source: Any, target: Any) -> None:
    if source is not getattr(sys.modules.get("mpi4py.MPI"), "IN_PLACE", None):
        np.copyto(np.asarray(target).reshape(-1), np.asarray(source).reshape(-1))
