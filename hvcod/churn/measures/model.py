"""Measures of one model's predictions on labelled rows: log loss, accuracy and calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.churn.measures.slices import BySlice

Array = npt.NDArray[Any]

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ModelFigures:
    """Measures of one model; None where no row has a label.

    Attributes:
        name: The name of the model.
        log_loss: Mean of -ln of the probability of the right class, in nats.
        accuracy: Share of right decisions.
        calibration: Mean probability minus the share of positives; for several classes mean
            probability of the top class minus accuracy.
        calibration_error: Expected calibration error in 15 bins of equal width (Guo et al. 2017).
        labelled: The number of rows with a label.
        clipped: The number of rows whose right class had probability 0; in the log loss it counts
            as the epsilon of its type (2.2e-16, or 1.2e-7 for 32 bits).
        slices: {slice: its log loss}; None for a slice without labels.
    """

    name: str
    log_loss: float | None
    accuracy: float | None
    calibration: float | None
    calibration_error: float | None
    labelled: int
    clipped: int
    slices: dict[str, float | None]


class ModelMeasures:
    """Sums from which the measures of one model follow."""

    def __init__(self) -> None:
        self._right, self._clipped = 0, 0
        self._confidence, self._hits = np.zeros((2, CALIBRATION_BINS))
        # Rows with a label, and the sum of their losses.
        self._sums = BySlice(2)

    def add(self, predictions: Array, labels: Array, right: Array, slices: Array | None) -> None:
        """Adds labelled rows.

        Args:
            predictions: [N] or [N, classes].
            labels: The right classes, [N].
            right: True for right decisions, [N].
            slices: The number of each row's slice, [N]; None without slices.
        """
        of_label = of_right_class(predictions, labels)
        confidence, hits = predictions, labels == 1
        if predictions.ndim > 1:
            confidence, hits = predictions.max(axis=1), right
        losses = log_losses(of_label)
        self._clipped += int(np.count_nonzero(of_label <= 0))
        self._sums.add(slices, [None, losses])
        self._right += int(np.count_nonzero(right))
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        self._confidence += np.bincount(bins, confidence, CALIBRATION_BINS)
        self._hits += np.bincount(bins, hits, CALIBRATION_BINS)

    def figures(self, name: str, slices: Mapping[str, int]) -> ModelFigures:
        """Returns the measures of all rows so far, given {name: number} of the slices."""
        rows, loss = map(float, self._sums.total())
        losses = {part: _mean(*self._sums.of(number)) for part, number in slices.items()}
        if not rows:
            return ModelFigures(name, None, None, None, None, 0, 0, losses)
        gaps = self._confidence - self._hits
        return ModelFigures(
            name=name,
            log_loss=loss / rows,
            accuracy=self._right / rows,
            calibration=float(gaps.sum()) / rows,
            calibration_error=float(np.abs(gaps).sum()) / rows,
            labelled=int(rows),
            clipped=self._clipped,
            slices=losses,
        )


def _mean(rows: float, total: float) -> float | None:
    return float(total / rows) if rows else None


def of_right_class(predictions: Array, labels: Array) -> Array:
    """Returns the predicted probabilities, [N] or [N, classes], of the right classes, [N]."""
    if predictions.ndim == 1:
        return np.where(labels == 1, predictions, 1 - predictions)
    return np.asarray(predictions[np.arange(len(labels)), labels])


def log_losses(of_label: Array) -> npt.NDArray[np.float64]:
    """Returns -ln of the probabilities of the right classes, [N]; 0 counts as their epsilon."""
    smallest = np.finfo(of_label.dtype).eps
    return np.asarray(-np.log(np.maximum(of_label, smallest), dtype=np.float64))
