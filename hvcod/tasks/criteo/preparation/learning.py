"""Learning from the training part: ids of categories, and scales of integers.

The ranks share the pieces to count in them, and the features to add the counts up. Memory does not
grow with the rows: a feature's counts are added up one interval of values at a time, which holds
about a fixed number of entries, and only values that occur often enough are kept.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.tasks.criteo.dataset import CATEGORIES
from hvcod.tasks.criteo.features import Features, Hashes
from hvcod.tasks.criteo.preparation.parse import Rows
from hvcod.tasks.files import read_arrays, write_arrays, write_whole
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.workspace import Stage, Workspace

COUNTED = Stage("counted", "counting", "row")
ADDED = Stage("added", "adding up", "row")

ENTRIES_AT_ONCE = 2**22
"""Entries of all pieces that are added up at once: some hundred MB."""

Counts = npt.NDArray[np.uint32]


class StoredCounts(NamedTuple):
    """One feature's values of a piece, ascending, and their counts: entries of two files."""

    values: Path
    counts: Path
    start: int
    stop: int


def count(workspace: Workspace, piece: int, rows: Rows) -> Report:
    """Counts the categories of a piece's training rows, and returns sums over its integers."""
    values, counts = zip(*count_categories(rows), strict=True)
    # As files of their own, they can be mapped into memory.
    for path, arrays in zip(_files(workspace, piece), (values, counts), strict=True):
        write_whole(path, np.concatenate(arrays).tobytes())
    missing = np.isnan(rows.integers)
    logarithms = np.where(missing, 0.0, rows.integers.astype(np.float64))
    return {
        "offsets": np.cumsum([0, *map(len, values)]).tolist(),
        "present": (missing.shape[1] - missing.sum(axis=1)).tolist(),
        "sums": logarithms.sum(axis=1).tolist(),
        "squares": np.square(logarithms).sum(axis=1).tolist(),
    }


def count_categories(rows: Rows) -> list[tuple[Hashes, Counts]]:
    """Returns the distinct values of each categorical feature, ascending, and their counts."""
    counted = []
    for feature in range(CATEGORIES):
        present = (rows.missing >> np.uint32(feature)) & np.uint32(1) == 0
        values, counts = np.unique(rows.categories[feature][present], return_counts=True)
        counted.append((values, counts.astype(np.uint32)))
    return counted


def add_up(
    workspace: Workspace,
    feature: int,
    pieces: Sequence[int],
    offsets: Sequence[Sequence[int]],
    min_count: int,
) -> Report:
    """Adds up a feature's counts over the pieces, keeps the frequent values, counts the distinct.

    ``offsets`` [piece][feature] is where the counts of a feature begin in a piece's files.
    """
    stored = [
        StoredCounts(*_files(workspace, piece), *offset[feature : feature + 2])
        for piece, offset in zip(pieces, offsets, strict=True)
    ]
    values, counts, distinct = count_feature(stored, min_count)
    # Most frequent first: the rows that most batches need then lie on few pages of memory.
    order = np.lexsort((values, -counts.astype(np.int64)))
    path = workspace.file(ADDED, feature, ".npz")
    write_arrays(path, values=values[order], counts=counts[order])
    return {"distinct": distinct}


def count_feature(pieces: Sequence[StoredCounts], least: int) -> tuple[Hashes, Counts, int]:
    """Adds up the counts of one feature over its pieces, of which there is at least one.

    Returns:
        The values that occur in at least ``least`` rows, ascending, their counts, and the number of
        all distinct values.
    """
    entries = sum(piece.stop - piece.start for piece in pieces)
    intervals = max(1, -(-entries // ENTRIES_AT_ONCE))
    edges = [2**32 * number // intervals for number in range(intervals + 1)]
    kept, kept_counts, distinct = [], [], 0
    for low, high in itertools.pairwise(edges):
        columns = zip(*(_between(piece, low, high) for piece in pieces), strict=True)
        all_values, all_counts = (np.concatenate(column) for column in columns)
        values, index = np.unique(all_values, return_inverse=True)
        counts = np.bincount(index, weights=all_counts, minlength=len(values)).astype(np.uint32)
        kept.append(values[counts >= least])
        kept_counts.append(counts[counts >= least])
        distinct += len(values)
    return np.concatenate(kept), np.concatenate(kept_counts), distinct


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


def learned_features(workspace: Workspace, pieces: Sequence[int]) -> Features:
    """Returns the result of the two stages for the pieces that were counted."""
    results = [workspace.result(COUNTED, piece) for piece in pieces]
    present, sums, squares = (
        np.sum([result[name] for result in results], axis=0)
        for name in ("present", "sums", "squares")
    )
    mean = sums / np.maximum(present, 1)
    variance = np.maximum(squares / np.maximum(present, 1) - mean**2, 0.0)
    deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    added = [read_arrays(workspace.file(ADDED, feature, ".npz")) for feature in range(CATEGORIES)]
    values, counts = ([one[name] for one in added] for name in ("values", "counts"))
    return Features(values, counts, mean, deviation)


def _files(workspace: Workspace, piece: int) -> tuple[Path, Path]:
    return workspace.file(COUNTED, piece, ".values"), workspace.file(COUNTED, piece, ".counts")
