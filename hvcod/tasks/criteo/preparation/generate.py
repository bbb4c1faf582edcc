"""Rows in the official format whose click probability is known.

Numbers of categories, missing values and sizes of integers are about those of the Kaggle set; a
category's frequency falls with its rank as in Zipf's law. The logit of a click is a sum of one
effect per category, a slope per integer, and products of the effects of a few pairs of features. So
a model's log loss can be compared with the best possible one, that of the true probabilities.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.tasks.criteo.dataset import CATEGORIES

GENERATED_AT_ONCE = 2**17
"""Rows of one generated input."""

RULES = 1
"""Version of the rules by which rows are generated; other rules make other rows."""

_CARDINALITIES = (
    *(1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194),
    *(27, 14_992, 5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572),
)
_MISSING_CATEGORIES = (
    *(0.0, 0.0, 0.03, 0.03, 0.0, 0.12, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03, 0.0),
    *(0.0, 0.0, 0.03, 0.0, 0.0, 0.44, 0.44, 0.03, 0.76, 0.0, 0.03, 0.44, 0.44),
)
_MISSING_INTEGERS = (0.45, 0.0, 0.21, 0.22, 0.03, 0.22, 0.04, 0.0, 0.04, 0.45, 0.04, 0.76, 0.22)
_MEANS = (0.9, 2.2, 2.2, 1.7, 7.3, 3.4, 1.6, 2.0, 3.5, 0.4, 0.9, 0.3, 1.7)
_SPREAD = 1.2
_SLOPES = (0.15, 0.1, -0.1, 0.05, -0.15, -0.15, 0.15, 0.0, -0.05, 0.2, 0.15, 0.05, -0.1)
_EFFECT = 0.25
_PAIRS = ((0, 9), (4, 13), (5, 22), (8, 16))
_PAIR_EFFECT = 0.4
_BIAS = -1.3

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def generate(seed: int, first: int, rows: int) -> tuple[bytes, Floats]:
    """Returns labelled rows as tab-separated text, and the click probability of each.

    They follow from the seed of all rows and the number of the first one.
    """
    draw = _Draws(seed, first, rows)
    logit = np.full(rows, _BIAS)
    integers, categories, effects = [], [], []
    for mean, missing, slope in zip(_MEANS, _MISSING_INTEGERS, _SLOPES, strict=True):
        values = np.floor(np.exp(mean + _SPREAD * draw.normal())).astype(np.int64) - 1
        absent = draw.uniform() < missing
        logit += np.where(absent, 0.0, slope * (np.log1p(np.maximum(values, 0)) - mean))
        integers.append(_texts(map(str, values.tolist()), absent))
    for feature in range(CATEGORIES):
        ranks = (_CARDINALITIES[feature] ** draw.uniform()).astype(np.int64)
        absent = draw.uniform() < _MISSING_CATEGORIES[feature]
        ranks[absent] = 0
        effects.append(_effect(feature, ranks))
        logit += _EFFECT * effects[-1]
        digits = _hash(feature, ranks).astype(">u4").tobytes().hex()
        hashes = (digits[begin : begin + 8] for begin in range(0, 8 * rows, 8))
        categories.append(_texts(hashes, absent))
    for one, other in _PAIRS:
        logit += _PAIR_EFFECT * effects[one] * effects[other]
    probabilities = 1 / (1 + np.exp(-logit))
    labels = (draw.uniform() < probabilities).astype(np.int64)
    columns = [map(str, labels.tolist()), *integers, *categories]
    lines = map("\t".join, zip(*columns, strict=True))
    return ("\n".join(lines) + "\n").encode(), probabilities


class _Draws:
    """Draws random columns, the same in all versions of NumPy: PCG64's raw numbers are (NEP 19)."""

    def __init__(self, seed: int, first: int, rows: int) -> None:
        self._bits, self._rows = np.random.PCG64(np.random.SeedSequence([seed, first])), rows

    def uniform(self) -> Floats:
        """Returns numbers from 0 to below 1."""
        bits = self._bits.random_raw(self._rows) >> np.uint64(11)
        return bits.astype(np.float64) * 2.0**-53

    def normal(self) -> Floats:
        """Returns numbers of mean 0 and standard deviation 1 (Box and Muller)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform()))
        return np.asarray(radius * np.cos(2 * math.pi * self.uniform()))


def _hash(feature: int, ranks: Integers) -> npt.NDArray[np.uint32]:
    """Returns 32 bits that no two categories of a feature share (the finaliser of MurmurHash3)."""
    key = (ranks + feature * 0x9E3779B1).astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        key = (key ^ (key >> np.uint32(shift))) * np.uint32(factor)
    return key ^ (key >> np.uint32(16))


def _effect(feature: int, ranks: Integers) -> Floats:
    """Returns a category's effect on the logit, of mean 0 and variance 1 over the categories."""
    uniform = _hash(feature + CATEGORIES, ranks) * 2.0**-32
    return np.asarray((2 * uniform - 1) * math.sqrt(3))


def _texts(values: Any, absent: npt.NDArray[np.bool_]) -> list[str]:
    texts = list(values)
    for index in np.flatnonzero(absent).tolist():
        texts[index] = ""
    return texts
