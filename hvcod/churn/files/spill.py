"""Rows in temporary files, partitioned so that equal ids are in the same partition."""

from typing import IO, Any

import numpy as np

from hvcod.churn.files.rows import Array, Rows

PARTITIONS = 64


class Spill:
    """Rows of one source in a temporary file; its methods raise OSError.

    Every block is sorted by partition and written at once, so one open file is enough.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._blocks: list[tuple[int, np.dtype[Any], Array]] = []

    def write(self, rows: Rows) -> None:
        """Appends rows."""
        parts = partition(rows["id"])
        order = np.argsort(parts, kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(parts, minlength=PARTITIONS))])
        self._blocks.append((self._file.tell(), rows.dtype, ends))
        # numpy takes rows many times faster than it indexes them.
        self._file.write(rows.take(order).data)

    def read(self, number: int) -> Rows | None:
        """Returns the rows of a partition; None if there are none."""
        parts = []
        for begin, kind, ends in self._blocks:
            first, count = int(ends[number]), int(ends[number + 1] - ends[number])
            if count:
                self._file.seek(begin + first * kind.itemsize)
                parts.append(np.frombuffer(self._file.read(count * kind.itemsize), dtype=kind))
        return np.concatenate(parts) if parts else None


def partition(ids: Array) -> Array:
    """Returns the partition of each id, uint8 [N]; padding of text does not change it."""
    if ids.dtype.kind == "i":
        mixed = ids.astype(np.uint64)
        return (_mixed(mixed) >> np.uint64(58)).astype(np.uint8)
    width = -(-ids.dtype.itemsize // 8)
    words = ids.astype(f"S{8 * width}").view(np.uint64).reshape(len(ids), width)
    total = np.zeros(len(ids), dtype=np.uint64)
    for word in words.T:
        total = np.where(word == 0, total, _mixed(total ^ word))
    return (total >> np.uint64(58)).astype(np.uint8)


def _mixed(words: Array) -> Array:
    # The finaliser of MurmurHash3, by Austin Appleby.
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        words = (words ^ (words >> np.uint64(33))) * np.uint64(factor)
    return np.asarray(words ^ (words >> np.uint64(33)))
