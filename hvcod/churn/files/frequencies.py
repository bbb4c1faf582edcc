"""How rare the features of a row are: slices of the Criteo data.

The paper (section 3.5) expects churn to be "especially severe on atypical examples with rare
features". Rows whose categories all have ids of their own are divided by how often the training
part has the rarest of them; the others by how many of their categories are too rare for an id
(`hvcod data criteo --min-count`) or new. A missing value is no rare one.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from hvcod.churn.files.rows import MOST_ROWS_IN_BLOCK, Array, Contents, Rows, make_rows
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.features import KNOWN, MISSING, Features

PARTS = ("validation", "test", "training")
"""In the order in which their predictions are likely to be compared."""

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
"""From the most usual rows to the rarest."""


class FrequencySource:
    """The slices of prepared Criteo data.

    Args:
        folder: What `hvcod data criteo` made.

    Raises:
        HvcodError: It holds no prepared Criteo data.
    """

    contents = Contents(ids="number", classes=0, labelled=False, sliced=True, slices=NAMES)

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._dataset = ClickDataset(folder)
        self._counts = row_counts(Features.load(folder / "features.h5"))

    def blocks(self) -> Iterator[Rows]:
        """The slices of all rows, some at a time."""
        names = np.array(NAMES, dtype=np.bytes_)
        for part in PARTS:
            rows = self._dataset.parts[part]
            for start in range(rows.start, rows.stop, MOST_ROWS_IN_BLOCK):
                stop = min(rows.stop, start + MOST_ROWS_IN_BLOCK)
                categories = self._dataset.column("categories", start, stop)
                ids = self._dataset.column("ids", start, stop).astype(np.int64)
                yield make_rows({"id": ids, "slice": names[slice_of(self._counts[categories])]})


def slice_of(counts: Array) -> Array:
    """The place in `NAMES` of rows, [rows]: of how often each category was seen, [rows, 26]."""
    rare = np.count_nonzero(counts == 0, axis=1)
    rarest = counts.min(axis=1)
    often = len(_OFTEN) - np.searchsorted(_OFTEN, rarest, side="right")
    less = len(_OFTEN) + np.searchsorted(_RARE, rare, side="right")
    return np.asarray(np.where(rare, less, often))


def row_counts(features: Features) -> Array:
    """How often the training part has the category of each row of the table of embeddings.

    0 for those without an id of their own; a missing value counts as more often than any.
    """
    counts = np.zeros(int(features.offsets[-1]), dtype=np.int64)
    for begin, each in zip(features.offsets, features.counts, strict=False):
        counts[begin + MISSING] = np.iinfo(np.int64).max
        counts[begin + KNOWN : begin + KNOWN + len(each)] = each
    return counts
