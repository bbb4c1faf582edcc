"""Spearman's rank correlation between the predictions of several models, in bounded memory.

Ranks are known only after all rows have been seen. So each prediction is stored as the number of a
fine bin (four bytes in a temporary file), the bins of each model are counted, and at the end every
bin gets the mean rank of its rows: predictions in the same bin count as ties. A bin is at most
1/1024 of min(p, 1 - p) wide. The counts give a bound on the error that these ties cause.
"""

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SHIFT = 13
_HALF = int(np.float32(0.5).view(np.uint32) >> _SHIFT)
_BINS = 2 * _HALF + 1
_ROWS = 1 << 16


class RankCorrelation:
    """Rank correlations between all pairs of some models.

    Args:
        models: The number of models.
        file: An empty temporary file; the caller closes it.
    """

    def __init__(self, models: int, file: BinaryIO) -> None:
        self._models, self._file = models, file
        self._counts = np.zeros((models, _BINS), dtype=np.uint32)

    def add(self, predictions: Floats) -> None:
        """Adds predictions, [models, N], between 0 and 1."""
        bins = _bins(predictions)
        for counts, of_model in zip(self._counts, bins, strict=True):
            counts += np.bincount(of_model, minlength=_BINS).astype(np.uint32)
        self._file.write(np.ascontiguousarray(bins.T).tobytes())

    def values(self) -> tuple[Floats, Floats]:
        """Returns the correlations and upper bounds of their errors, each [models, models].

        They are NaN if all predictions of a model fall into one bin.
        """
        ranks = np.empty(self._counts.shape)
        for counts, row in zip(self._counts, ranks, strict=True):
            row[:] = _centred(counts)
        products = np.zeros((self._models, self._models))
        self._file.seek(0)
        models = np.arange(self._models)
        while content := self._file.read(_ROWS * self._models * 4):
            bins = np.frombuffer(content, dtype=np.uint32).reshape(-1, self._models)
            centred = ranks[models, bins]
            products += centred.T @ centred
        length = np.sqrt(np.diagonal(products))
        with np.errstate(invalid="ignore", divide="ignore"):
            correlations = products / np.outer(length, length)
        return correlations, self._bounds()

    def _bounds(self) -> Floats:
        """|true - computed| <= x + y + xy + (1 - sqrt((1-x^2)(1-y^2))), x^2 the variance in ties.

        By Cauchy and Schwarz: the ranks are the mean ranks of the bins plus an orthogonal rest.
        """
        inside = np.array([_in_ties(counts) for counts in self._counts])
        rest = np.sqrt(inside)
        kept = np.sqrt(np.outer(1 - inside, 1 - inside))
        bounds: Any = np.add.outer(rest, rest) + np.outer(rest, rest) + 1 - kept
        return np.asarray(np.minimum(bounds, 2.0))


def _bins(predictions: Floats) -> npt.NDArray[np.uint32]:
    """Bins that are equally fine near 0 and near 1."""
    upper = predictions > 0.5
    near = np.where(upper, 1 - predictions, predictions).astype(np.float32)
    bins = near.view(np.uint32) >> np.uint32(_SHIFT)
    return np.where(upper, np.uint32(2 * _HALF) - bins, bins)


def _centred(counts: npt.NDArray[np.uint32]) -> Floats:
    """The mean rank of the rows of each bin, less the mean rank of all rows."""
    ends = np.cumsum(counts, dtype=np.float64)
    return np.asarray(ends - (counts.astype(np.float64) - 1) / 2 - (ends[-1] + 1) / 2)


def _in_ties(counts: npt.NDArray[np.uint32]) -> float:
    """The share of the variance of the ranks that lies inside bins, if they held no true ties."""
    inside = counts[counts > 1].astype(np.float64)
    total = float(counts.sum(dtype=np.float64))
    return float((inside**3 - inside).sum()) / max(1.0, total**3 - total)
