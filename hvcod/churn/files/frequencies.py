"""Slices of the Criteo data by how rare the features of a row are.

The paper (section 3.5) expects churn to be "especially severe on atypical examples with rare
features". Rows whose categories all have ids of their own are divided by the count of the rarest of
them in the training part; the others by how many of their categories are new or too rare for an id
(`hvcod data criteo --min-count`). A missing value does not count as rare.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from hvcod.churn.files.rows import (
    MOST_ROWS_IN_BLOCK,
    Array,
    Columns,
    Contents,
    Rows,
    make_rows,
)
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.features import KNOWN, MISSING, Features

PARTS = ("validation", "test", "training")
"""The parts of the data, those first whose predictions are likely to be compared."""

_OFTEN = (30, 100, 300, 1000, 10_000)
_RARE = (1, 2, 4, 7)
NAMES = (
    f"rarest seen {_OFTEN[-1]}+ times",
    *(f"rarest seen {low} to {high - 1}" for low, high in reversed(list(pairwise(_OFTEN)))),
    f"rarest seen under {_OFTEN[0]}",
    "1 rare category",
    *(f"{low} to {high - 1} rare" for low, high in pairwise(_RARE[1:])),
    f"{_RARE[-1]}+ rare categories",
)
"""The slices, from the most common rows to the rarest."""


class FrequencySource:
    """The slices of Criteo data in a folder.

    Raises:
        HvcodError: The folder does not contain prepared Criteo data.
    """

    contents = Contents("number", 0, Columns(id="id", slice="slice"), slices=NAMES)

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._dataset = ClickDataset(folder)
        self._counts = row_counts(Features.load(folder / "features.h5"))

    def blocks(self) -> Iterator[Rows]:
        """Yields the slices of all rows, in blocks."""
        names = np.array(NAMES, dtype=np.bytes_)
        for part in PARTS:
            rows = self._dataset.parts[part]
            for start in range(rows.start, rows.stop, MOST_ROWS_IN_BLOCK):
                stop = min(rows.stop, start + MOST_ROWS_IN_BLOCK)
                categories = self._dataset.column("categories", start, stop)
                ids = self._dataset.column("ids", start, stop).astype(np.int64)
                yield make_rows({"id": ids, "slice": names[slice_of(self._counts[categories])]})


def slice_of(counts: Array) -> Array:
    """Returns the index in `NAMES` of each row, [rows], from its category counts [rows, 26]."""
    rare = np.count_nonzero(counts == 0, axis=1)
    rarest = counts.min(axis=1)
    by_count = len(_OFTEN) - np.searchsorted(_OFTEN, rarest, side="right")
    by_rare = len(_OFTEN) + np.searchsorted(_RARE, rare, side="right")
    return np.asarray(np.where(rare, by_rare, by_count))


def row_counts(features: Features) -> Array:
    """Returns the count in the training part of the category of each row of the embedding table.

    0 for categories without an id of their own; a missing value has the largest integer.
    """
    counts = np.zeros(int(features.offsets[-1]), dtype=np.int64)
    for begin, of_feature in zip(features.offsets, features.counts, strict=False):
        counts[begin + MISSING] = np.iinfo(np.int64).max
        counts[begin + KNOWN : begin + KNOWN + len(of_feature)] = of_feature
    return counts
