"""Memory of the ranks of a group that every rank reads and writes without the owner's help."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvcod.errors import HvcodError
from hvcod.groups.communicator import SLICE_BYTES, Communicator, of_mpi
from hvcod.units import byte_count

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Rows:
    """Some rows of a table in a window.

    Attributes:
        offset: The byte at which the table begins.
        stride: Bytes from one row to the next.
        numbers: The rows, ascending, int64 [rows].
    """

    offset: int
    stride: int
    numbers: np.ndarray


class Window:
    """Bytes on each rank, zero at first, in a window of one-sided MPI (passive target).

    An owner's bytes are read and written between `locked` and its end. Nobody else writes there
    meanwhile; with a shared lock others may read. A group of one rank needs no MPI for it.
    """

    def __init__(self, comm: Communicator, size: int) -> None:
        """`size`: bytes of each rank, the same on all of them. Collective over `comm`.

        Raises:
            HvcodError: This MPI has no one-sided communication between these ranks, or no room.
        """
        self._mpi: Any = None
        if comm.size == 1:
            self._memory = np.zeros(size, np.uint8)
            return
        from mpi4py import MPI

        self._mpi = MPI
        try:
            self._win = MPI.Win.Allocate(max(1, size), 1, comm=of_mpi(comm))
        except MPI.Exception as error:
            raise HvcodError(
                f"this MPI gives the ranks of a group no one-sided access to {byte_count(size)} of "
                f"each ({error}): put each group on one node with as much room in /dev/shm, use "
                "another network or another MPI (docs/method.md), or --sgd sync"
            ) from error
        self._memory = np.asarray(self._win.tomemory(), np.uint8)
        self._memory[:] = 0
        comm.Barrier()

    @contextlib.contextmanager
    def locked(self, owner: int, shared: bool = False) -> Iterator[None]:
        """Gives access to the bytes of a rank: alone, or shared with others that only read."""
        if self._mpi is None:
            yield
            return
        kind = self._mpi.LOCK_SHARED if shared else self._mpi.LOCK_EXCLUSIVE
        self._win.Lock(owner, kind)
        try:
            yield
        finally:
            self._win.Unlock(owner)

    def get(self, owner: int, offset: int, into: np.ndarray) -> None:
        """Reads bytes of a rank into an array of uint8."""
        if self._mpi is None:
            into[:] = self._memory[offset : offset + into.size]
            return
        for start in range(0, into.size, SLICE_BYTES):
            self._win.Get(into[start : start + SLICE_BYTES], owner, offset + start)
        self._win.Flush(owner)

    def put(self, owner: int, offset: int, data: np.ndarray) -> None:
        """Writes an array of uint8; it must not change until the lock ends."""
        if self._mpi is None:
            self._memory[offset : offset + data.size] = data
            return
        for start in range(0, data.size, SLICE_BYTES):
            self._win.Put(data[start : start + SLICE_BYTES], owner, offset + start)

    def get_rows(self, owner: int, rows: Rows, into: np.ndarray) -> None:
        """Reads the first bytes of some rows into an array of uint8 [rows, bytes]."""
        if not into.size:
            return
        if self._mpi is None:
            into[:] = self._table(rows)[rows.numbers, : into.shape[1]]
            return
        with self._places(rows, into.shape[1]) as places:
            self._win.Get(into, owner, (rows.offset, 1, places))
            self._win.Flush(owner)

    def put_rows(self, owner: int, rows: Rows, data: np.ndarray) -> None:
        """Writes an array of uint8 [rows, bytes] to the beginnings of some rows."""
        if not data.size:
            return
        if self._mpi is None:
            self._table(rows)[rows.numbers, : data.shape[1]] = data
            return
        with self._places(rows, data.shape[1]) as places:
            self._win.Put(data, owner, (rows.offset, 1, places))
            self._win.Flush(owner)

    def close(self) -> None:
        """Frees the memory. Collective."""
        if self._mpi is not None:
            del self._memory
            self._win.Free()

    def _table(self, rows: Rows) -> np.ndarray:
        """Returns the table as [rows, stride]; in a group of one rank."""
        end = rows.offset + (int(rows.numbers[-1]) + 1) * rows.stride
        return self._memory[rows.offset : end].reshape(-1, rows.stride)

    @contextlib.contextmanager
    def _places(self, rows: Rows, length: int) -> "Iterator[MPI.Datatype]":
        """Gives the places of some rows in their table, as MPI describes them."""
        starts = (rows.numbers * rows.stride).tolist()
        places = self._mpi.BYTE.Create_hindexed_block(length, starts).Commit()
        try:
            yield places
        finally:
            places.Free()


class Board:
    """A few numbers on the group root that any rank reads and changes, one at a time."""

    def __init__(self, comm: Communicator, count: int) -> None:
        """Collective over `comm`; all numbers are zero at first."""
        self._window = Window(comm, 8 * count)
        self._numbers = np.zeros(count)

    @contextlib.contextmanager
    def open(self) -> Iterator[np.ndarray]:
        """Gives the numbers, float64; what is changed in them is written back."""
        numbers = self._numbers
        with self._window.locked(0):
            self._window.get(0, 0, numbers.view(np.uint8))
            yield numbers
            self._window.put(0, 0, numbers.view(np.uint8))

    def close(self) -> None:
        """Frees the memory. Collective."""
        self._window.close()
