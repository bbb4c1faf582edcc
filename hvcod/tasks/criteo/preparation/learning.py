"""Learning from the training part: ids of categories, and scales of integers.

The ranks share the pieces to count in them, and the features to add the counts up.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvcod.tasks.criteo.dataset import CATEGORIES
from hvcod.tasks.criteo.features import Features
from hvcod.tasks.criteo.preparation.parse import Rows
from hvcod.tasks.criteo.preparation.vocabulary import StoredCounts, count_feature, count_piece
from hvcod.tasks.files import read_arrays, write_arrays, write_whole
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.workspace import Stage, Workspace

COUNTED = Stage("counted", "counting", "row")
ADDED = Stage("added", "adding up", "row")


def count(workspace: Workspace, piece: int, rows: Rows) -> Report:
    """Counts the categories of a piece's training rows, and returns sums over its integers."""
    counts = count_piece(rows)
    for name in ("values", "counts"):
        # As a file of its own, it can be mapped into memory.
        write_whole(_file(workspace, piece, name), getattr(counts, name).tobytes())
    missing = np.isnan(rows.integers)
    logarithms = np.where(missing, 0.0, rows.integers.astype(np.float64))
    return {
        "offsets": counts.offsets,
        "present": (missing.shape[1] - missing.sum(axis=1)).tolist(),
        "sums": logarithms.sum(axis=1).tolist(),
        "squares": np.square(logarithms).sum(axis=1).tolist(),
    }


def add_up(
    workspace: Workspace,
    feature: int,
    pieces: Sequence[int],
    offsets: Sequence[Sequence[int]],
    min_count: int,
) -> Report:
    """Adds up the counts of a feature and keeps the frequent values.

    Args:
        workspace: The workspace of the preparation.
        feature: Number of the categorical feature.
        pieces: The pieces that were counted.
        offsets: For each piece, where the counts of each feature begin.
        min_count: Rows in which a kept value occurs at least.

    Returns:
        The number of distinct values.
    """
    stored = [
        StoredCounts(
            _file(workspace, piece, "values"),
            _file(workspace, piece, "counts"),
            *offset[feature : feature + 2],
        )
        for piece, offset in zip(pieces, offsets, strict=True)
    ]
    values, counts, distinct = count_feature(stored, min_count)
    # Most frequent first: the rows that most batches need then lie on few pages of memory.
    order = np.lexsort((values, -counts.astype(np.int64)))
    path = workspace.file(ADDED, feature, ".npz")
    write_arrays(path, values=values[order], counts=counts[order])
    return {"distinct": distinct}


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


def _file(workspace: Workspace, piece: int, name: str) -> Path:
    return workspace.file(COUNTED, piece, f".{name}")
