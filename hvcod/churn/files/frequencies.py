"""How rare the features of a row are: slices of the Criteo data.

The paper (section 3.5) expects churn to be "especially severe on atypical examples with rare
features". The slice of a row is how often the training part has its rarest category; 0 if a
category has no id of its own (seen less often than `hvcod data criteo --min-count`, or never).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hvcod.churn.files.rows import MOST_ROWS_IN_BLOCK, Array, Contents, Rows, make_rows
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.features import KNOWN, MISSING, Features

PARTS = ("validation", "test", "training")
"""In the order in which their predictions are likely to be compared."""


class FrequencySource:
    """The slices of prepared Criteo data.

    Args:
        folder: What `hvcod data criteo` made.

    Raises:
        HvcodError: It holds no prepared Criteo data.
    """

    contents = Contents(ids="number", classes=0, labelled=False, sliced=True)

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._dataset = ClickDataset(folder)
        self._counts = row_counts(Features.load(folder / "features.h5"))

    def blocks(self) -> Iterator[Rows]:
        """The slices of all rows, some at a time."""
        for part in PARTS:
            rows = self._dataset.parts[part]
            for start in range(rows.start, rows.stop, MOST_ROWS_IN_BLOCK):
                stop = min(rows.stop, start + MOST_ROWS_IN_BLOCK)
                rarest = self._counts[self._dataset.column("categories", start, stop)].min(axis=1)
                ids = self._dataset.column("ids", start, stop).astype(np.int64)
                yield make_rows({"id": ids, "slice": rarest.astype(np.bytes_)})


def row_counts(features: Features) -> Array:
    """How often the training part has the category of each row of the table of embeddings.

    A missing value is no rare one: it counts as more often than any.
    """
    counts = np.zeros(int(features.offsets[-1]), dtype=np.int64)
    for begin, each in zip(features.offsets, features.counts, strict=False):
        counts[begin + MISSING] = np.iinfo(np.int64).max
        counts[begin + KNOWN : begin + KNOWN + len(each)] = each
    return counts
