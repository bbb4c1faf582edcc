"""What is learned from the training part: ids of categories, and scales of integers.

The ranks share the pieces when they count, and the features when counts are added up.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvcod.groups.world import on_rank_zero
from hvcod.tasks.criteo.dataset import CATEGORIES
from hvcod.tasks.criteo.features import Features
from hvcod.tasks.criteo.preparation.parse import Rows
from hvcod.tasks.criteo.preparation.reading import read_rows
from hvcod.tasks.criteo.preparation.vocabulary import StoredCounts, count_feature, count_piece
from hvcod.tasks.files import read_arrays, write_arrays, write_whole
from hvcod.tasks.preparing.workspace import Workspace

STAGES = ("counted", "added")


class Learning:
    """Goes through the stages of learning, as one rank.

    Args:
        workspace: Of the preparation.
        training: Rows of each piece that are in the training part.
        min_count: Rows in which a category must occur.
    """

    def __init__(self, workspace: Workspace, training: Sequence[int], min_count: int) -> None:
        self._workspace, self._training, self._min_count = workspace, training, min_count
        self._pieces = [index for index, rows in enumerate(training) if rows]

    def run(self) -> None:
        """Counts, and adds up. Collective."""
        workspace = self._workspace
        with workspace.shown("counted", "counting", len(self._pieces), "row") as look:
            for index in workspace.share("counted", self._pieces):
                rows = read_rows(workspace, index)
                self._count(index, Rows(*(each[..., : self._training[index]] for each in rows)))
                look()
            workspace.wait(look)
        offsets: list[list[int]] = on_rank_zero(
            workspace.world,
            lambda: [workspace.result("counted", index)["offsets"] for index in self._pieces],
        )
        with workspace.shown("added", "adding up", CATEGORIES, "row") as look:
            for feature in workspace.share("added", range(CATEGORIES)):
                self._add_up(feature, offsets)
                look()
            workspace.wait(look)

    def features(self) -> Features:
        """What was learned."""
        results = [self._workspace.result("counted", index) for index in self._pieces]
        present, sums, squares = (
            np.sum([result[name] for result in results], axis=0)
            for name in ("present", "sums", "squares")
        )
        mean = sums / np.maximum(present, 1)
        variance = np.maximum(squares / np.maximum(present, 1) - mean**2, 0.0)
        deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
        added = [
            read_arrays(self._workspace.file("added", feature, ".npz"))
            for feature in range(CATEGORIES)
        ]
        values, counts = ([each[name] for each in added] for name in ("values", "counts"))
        return Features(values, counts, mean, deviation)

    def distinct(self) -> list[int]:
        """Distinct values of each categorical feature."""
        return [self._workspace.result("added", each)["distinct"] for each in range(CATEGORIES)]

    def _count(self, index: int, rows: Rows) -> None:
        counts = count_piece(rows)
        for name in ("values", "counts"):
            # As a file of its own, it can be mapped into memory.
            write_whole(self._file(index, name), getattr(counts, name).tobytes())
        missing = np.isnan(rows.integers)
        logarithms = np.where(missing, 0.0, rows.integers.astype(np.float64))
        result = {
            "offsets": counts.offsets,
            "present": (missing.shape[1] - missing.sum(axis=1)).tolist(),
            "sums": logarithms.sum(axis=1).tolist(),
            "squares": np.square(logarithms).sum(axis=1).tolist(),
        }
        self._workspace.finish("counted", index, result)

    def _add_up(self, feature: int, offsets: Sequence[Sequence[int]]) -> None:
        pieces = [
            StoredCounts(
                self._file(index, "values"),
                self._file(index, "counts"),
                *offset[feature : feature + 2],
            )
            for index, offset in zip(self._pieces, offsets, strict=True)
        ]
        values, counts, distinct = count_feature(pieces, self._min_count)
        # Most frequent first: what most batches need then lies on few pages of memory.
        order = np.lexsort((values, -counts.astype(np.int64)))
        path = self._workspace.file("added", feature, ".npz")
        write_arrays(path, values=values[order], counts=counts[order])
        self._workspace.finish("added", feature, {"distinct": distinct})

    def _file(self, index: int, name: str) -> Path:
        return self._workspace.file("counted", index, f".{name}")
