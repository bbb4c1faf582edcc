"""Rows put aside in temporary files, divided so that equal ids meet again in the same partition."""

from pathlib import Path
from typing import Any

import numpy as np

from hvcod.churn.files.rows import Array, Rows

PARTITIONS = 64


class Spill:
    """Rows of one file in a temporary file.

    Every block is sorted by partition and written in one stretch, so one open file is enough.

    Args:
        path: Of the temporary file. Its errors (OSError) are left to the caller.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._blocks: list[tuple[int, np.dtype[Any], Array]] = []

    def write(self, rows: Rows) -> None:
        """Puts rows aside."""
        parts = partition(rows["id"])
        order = np.argsort(parts, kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(parts, minlength=PARTITIONS))])
        self._blocks.append((self._file.tell(), rows.dtype, ends))
        self._file.write(rows[order].tobytes())

    def read(self, number: int) -> Rows | None:
        """The rows of a partition; None if there are none."""
        found = []
        for begin, kind, ends in self._blocks:
            first, count = int(ends[number]), int(ends[number + 1] - ends[number])
            if count:
                self._file.seek(begin + first * kind.itemsize)
                found.append(np.frombuffer(self._file.read(count * kind.itemsize), dtype=kind))
        return np.concatenate(found) if found else None

    def close(self) -> None:
        """Gives the disk space back."""
        self._file.close()
        self._path.unlink()


def partition(ids: Array) -> Array:
    """The partition of each id, uint8; the same whatever the length that text is padded to."""
    if ids.dtype.kind == "i":
        mixed = ids.astype(np.uint64)
        return (_mixed(mixed) >> np.uint64(58)).astype(np.uint8)
    width = -(-ids.dtype.itemsize // 8)
    words = ids.astype(f"S{8 * width}").view(np.uint64).reshape(len(ids), width)
    total = np.zeros(len(ids), dtype=np.uint64)
    for place in range(width):
        word = words[:, place]
        total = np.where(word == 0, total, _mixed(total ^ word))
    return (total >> np.uint64(58)).astype(np.uint8)


def _mixed(words: Array) -> Array:
    # The finaliser of MurmurHash3, by Austin Appleby.
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        words = (words ^ (words >> np.uint64(33))) * np.uint64(factor)
    return np.asarray(words ^ (words >> np.uint64(33)))
