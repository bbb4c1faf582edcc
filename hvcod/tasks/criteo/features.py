"""The features learned from the training part: ids of categories and scales of integers.

One file, ``features.h5``, holds them: for each of C1 to C26 the values with an id of their own,
most frequent first, and their counts in the training part; for I1 to I13 mean and standard
deviation of the logarithms.

All features share one table of embeddings. The rows of feature c begin at `Features.offsets` [c]:
the first stands for every value without an id of its own, the second for a missing one, and then
comes one for each value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.tasks.columns import Columns, image
from hvcod.tasks.criteo.dataset import CATEGORY_NAMES
from hvcod.tensorfile.meaning import digest

OUT_OF_VOCABULARY, MISSING, KNOWN = 0, 1, 2
"""Offsets of a feature's rows from where they begin in the table."""

Hashes = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_MIX = np.uint32(0x9E3779B1)
_MOST_BITS = 24


@dataclass(frozen=True)
class Features:
    """The learned part of a preparation.

    Attributes:
        values: The known values of each categorical feature, most frequent first.
        counts: The rows of the training part that have them.
        mean: The mean of the logarithms of each integer feature.
        deviation: Their standard deviation, or 1 where there is none.
    """

    values: Sequence[Hashes]
    counts: Sequence[npt.NDArray[np.uint32]]
    mean: Floats
    deviation: Floats

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """First row of each categorical feature in the table, and the table's end."""
        sizes = [len(values) + KNOWN for values in self.values]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def meaning(self) -> dict[str, str]:
        """The digests of the known values in their order, and of the scales.

        The last digits of the scales depend on the order in which rows were added up.
        """
        sizes = [len(values) for values in self.values]
        values = b"".join(values.astype("<u4").tobytes() for values in self.values)
        scales = [f"{number:.4g}" for number in (*self.mean, *self.deviation)]
        return {"categories": digest(f"{sizes}".encode() + values), "scales": digest(scales)}

    def image(self) -> bytes:
        """Returns the bytes of ``features.h5``."""
        columns: dict[str, npt.NDArray[Any]] = {}
        for name, values, counts in zip(CATEGORY_NAMES, self.values, self.counts, strict=True):
            columns[f"{name}/values"] = values
            columns[f"{name}/counts"] = counts
        return image({**columns, "mean": self.mean, "deviation": self.deviation})

    @staticmethod
    def load(path: Path) -> "Features":
        """Reads ``features.h5``.

        Raises:
            HvcodError: The file is missing or damaged.
        """
        file = Columns(path)
        values, counts = (
            [file.read(f"{name}/{kind}") for name in CATEGORY_NAMES]
            for kind in ("values", "counts")
        )
        return Features(values, counts, file.read("mean"), file.read("deviation"))


class Lookup:
    """Finds the indices of many values in an array at once.

    The values are mixed, sorted and divided into more intervals than there are values, so that one
    look at an interval's beginning is nearly always enough.
    """

    def __init__(self, values: Hashes) -> None:
        mixed = values * _MIX  # the factor is odd: no two values become the same
        order = np.argsort(mixed, kind="stable")
        self._mixed = np.append(mixed[order], np.uint32(2**32 - 1))
        self._indices = np.append(order, -1).astype(np.int32)
        bits = min(_MOST_BITS, len(values).bit_length() + 2)
        self._shift = np.uint32(32 - bits)
        begins = np.arange(2**bits, dtype=np.uint32) << self._shift
        self._first = np.searchsorted(self._mixed[:-1], begins).astype(np.int32)

    def __call__(self, wanted: Hashes) -> npt.NDArray[np.int32]:
        """Returns the index of each value, or -1."""
        mixed = wanted * _MIX
        position = self._first[mixed >> self._shift]
        behind = np.flatnonzero(self._mixed[position] < mixed)
        while len(behind):
            position[behind] += 1
            behind = behind[self._mixed[position[behind]] < mixed[behind]]
        indices = self._indices[position]
        indices[self._mixed[position] != mixed] = -1
        return np.asarray(indices)


class Encoder:
    """Turns hashes and logarithms into the inputs of the model."""

    def __init__(self, features: Features) -> None:
        self._features, self._offsets = features, features.offsets
        self._lookups = [Lookup(values) for values in features.values]

    def categories(self, hashes: Hashes, missing: npt.NDArray[np.uint32]) -> npt.NDArray[Any]:
        """Returns rows of the table, int32 [rows, 26], for hashes [26, rows] and missing bits."""
        columns = np.empty(hashes.shape, dtype=np.int32)
        for feature, (lookup, column) in enumerate(zip(self._lookups, columns, strict=True)):
            column[:] = lookup(hashes[feature])
            column += KNOWN
            column[column < KNOWN] = OUT_OF_VOCABULARY
            column[(missing >> np.uint32(feature)) & np.uint32(1) == 1] = MISSING
            column += np.int32(self._offsets[feature])
        return np.ascontiguousarray(columns.T)

    def integers(self, logarithms: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns logarithms [13, rows] scaled by the training part's, [rows, 13]."""
        mean = self._features.mean.astype(np.float32)
        deviation = self._features.deviation.astype(np.float32)
        return np.ascontiguousarray((logarithms.T - mean) / deviation)
