"""The counts of each category in the training part, in memory that does not grow with it.

Each piece is counted by itself: the distinct values of each feature in order, and their counts.
Then each feature's counts are added up over all pieces, one interval of values at a time, which
holds about a fixed number of entries. Only values that occur often enough are kept.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.tasks.criteo.dataset import CATEGORIES
from hvcod.tasks.criteo.features import Hashes
from hvcod.tasks.criteo.preparation.parse import Rows

ENTRIES_AT_ONCE = 2**22
"""Entries of all pieces that are added up at once: some hundred MB."""

Counts = npt.NDArray[np.uint32]


class PieceCounts(NamedTuple):
    """The distinct values of a piece; those of feature c begin at ``offsets[c]``, ascending."""

    offsets: Sequence[int]
    values: Hashes
    counts: Counts


class StoredCounts(NamedTuple):
    """One feature's values of a piece, ascending, and their counts: entries of two files."""

    values: Path
    counts: Path
    start: int
    stop: int


def count_piece(rows: Rows) -> PieceCounts:
    """Counts the categories of some rows."""
    values, counts = [], []
    for feature in range(CATEGORIES):
        present = (rows.missing >> np.uint32(feature)) & np.uint32(1) == 0
        distinct, count = _runs(np.sort(rows.categories[feature][present]))
        values.append(distinct)
        counts.append(count)
    offsets = np.cumsum([0, *map(len, values)]).tolist()
    return PieceCounts(offsets, np.concatenate(values), np.concatenate(counts))


def count_feature(pieces: Sequence[StoredCounts], least: int) -> tuple[Hashes, Counts, int]:
    """Adds up the counts of one feature.

    Args:
        pieces: Its values and their counts in each piece.
        least: The count from which a value is kept.

    Returns:
        The kept values, ascending, their counts, and the number of distinct values.
    """
    entries = sum(piece.stop - piece.start for piece in pieces)
    intervals = max(1, -(-entries // ENTRIES_AT_ONCE))
    edges = [2**32 * number // intervals for number in range(intervals + 1)]
    kept, counts, distinct = [], [], 0
    for low, high in itertools.pairwise(edges):
        values, sums = _add_up([_between(piece, low, high) for piece in pieces])
        often = sums >= least
        kept.append(values[often])
        counts.append(sums[often])
        distinct += len(values)
    return np.concatenate(kept), np.concatenate(counts), distinct


def _between(piece: StoredCounts, low: int, high: int) -> tuple[Hashes, Counts]:
    """Copies the entries in an interval: there are more pieces than files may be open."""
    if piece.start == piece.stop:
        return np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint32)
    values, counts = (
        np.memmap(path, dtype=np.uint32, mode="r")[piece.start : piece.stop]
        for path in (piece.values, piece.counts)
    )
    begin = int(np.searchsorted(values, np.uint32(low)))
    end = len(values) if high == 2**32 else int(np.searchsorted(values, np.uint32(high)))
    return np.array(values[begin:end]), np.array(counts[begin:end])


def _add_up(pieces: Sequence[tuple[Hashes, Counts]]) -> tuple[Hashes, Counts]:
    values = np.concatenate([each for each, _ in pieces] or [np.empty(0, np.uint32)])
    counts = np.concatenate([each for _, each in pieces] or [np.empty(0, np.uint32)])
    order = np.argsort(values, kind="stable")
    values = values[order]
    begins = _begins(values)
    sums = np.add.reduceat(counts[order], begins) if len(begins) else counts
    return values[begins], sums.astype(np.uint32)


def _runs(ordered: Hashes) -> tuple[Hashes, Counts]:
    """Returns the distinct values of a sorted array and their counts."""
    begins = _begins(ordered)
    counts = np.diff(begins, append=len(ordered)).astype(np.uint32)
    return ordered[begins], counts


def _begins(ordered: Hashes) -> npt.NDArray[np.int64]:
    if not len(ordered):
        return np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
