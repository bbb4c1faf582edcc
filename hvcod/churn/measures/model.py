"""Measures of one model's predictions on labelled rows: log loss, accuracy and calibration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """

    name: str
    log_loss: float | None
    accuracy: float | None
    calibration: float | None
    calibration_error: float | None
    labelled: int
    clipped: int


class ModelMeasures:
    """Sums from which the measures of one model follow."""

    def __init__(self) -> None:
        self._loss, self._right, self._labelled, self._clipped = 0.0, 0, 0, 0
        self._confidence, self._hits = np.zeros((2, CALIBRATION_BINS))

    def add(self, predictions: Array, labels: Array, right: Array) -> None:
        """Adds labelled rows.

        Args:
            predictions: [N] or [N, classes].
            labels: The right classes, [N].
            right: True for right decisions, [N].
        """
        if predictions.ndim == 1:
            of_label = np.where(labels == 1, predictions, 1 - predictions)
            confidence, hits = predictions, labels == 1
        else:
            of_label = predictions[np.arange(len(labels)), labels]
            confidence, hits = predictions.max(axis=1), right
        smallest = np.finfo(predictions.dtype).eps
        self._clipped += int(np.count_nonzero(of_label <= 0))
        self._loss -= float(np.log(np.maximum(of_label, smallest), dtype=np.float64).sum())
        self._right += int(np.count_nonzero(right))
        self._labelled += len(labels)
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        self._confidence += np.bincount(bins, confidence, CALIBRATION_BINS)
        self._hits += np.bincount(bins, hits, CALIBRATION_BINS)

    def figures(self, name: str) -> ModelFigures:
        """Returns the measures of all rows so far."""
        rows = self._labelled
        if not rows:
            return ModelFigures(name, None, None, None, None, 0, 0)
        gaps = self._confidence - self._hits
        return ModelFigures(
            name=name,
            log_loss=self._loss / rows,
            accuracy=self._right / rows,
            calibration=float(gaps.sum()) / rows,
            calibration_error=float(np.abs(gaps).sum()) / rows,
            labelled=rows,
            clipped=self._clipped,
        )
