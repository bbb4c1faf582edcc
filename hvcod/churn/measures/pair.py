"""Measures of the disagreement of two models, over all rows and by slice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.churn.measures.differences import Differences
from hvcod.churn.measures.slices import BySlice

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Disagreement:
    """Measures of disagreement over some rows.

    Attributes:
        rows: The number of rows.
        churn: Mean absolute difference of the probabilities; for several classes the mean total
            variation, half the sum of the absolute differences (the same for two classes).
        disagreement: Share of the rows that are decided differently.
        good_churn: Share of the labelled rows where the first model is wrong and the second right.
        bad_churn: Share of the labelled rows where the first is right and the second wrong.
        churn_ratio: Good over bad churn; None without bad churn.
    """

    rows: int
    churn: float | None
    disagreement: float | None
    good_churn: float | None
    bad_churn: float | None
    churn_ratio: float | None


@dataclass(frozen=True)
class PairFigures:
    """Measures of two models.

    Attributes:
        first: The name of the model that counts as the old one.
        second: The name of the new one.
        overall: The disagreement over all rows.
        quantiles: {share: quantile of the absolute differences}.
        rank_correlation: Spearman's; None for several classes.
        rank_correlation_error: An upper bound of its error.
        mean_square: The mean squared difference; for several classes of the total variations.
        log_loss_difference: The second's minus the first's; None without labels.
        calibration_difference: The second's minus the first's; None without labels.
        slices: {slice: its disagreement}.
        differences: The distribution of the absolute differences.
    """

    first: str
    second: str
    overall: Disagreement
    quantiles: dict[str, float]
    rank_correlation: float | None
    rank_correlation_error: float | None
    mean_square: float
    log_loss_difference: float | None
    calibration_difference: float | None
    slices: dict[str, Disagreement]
    differences: Differences

    def to_dict(self) -> dict[str, Any]:
        """Returns the measures as plain values."""
        return {
            "first": self.first,
            "second": self.second,
            **asdict(self.overall),
            "rank_correlation": self.rank_correlation,
            "rank_correlation_error": self.rank_correlation_error,
            "mean_square": self.mean_square,
            "log_loss_difference": self.log_loss_difference,
            "calibration_difference": self.calibration_difference,
            "quantiles": self.quantiles,
            "slices": {name: asdict(measures) for name, measures in self.slices.items()},
        }


class PairMeasures:
    """Sums from which the measures of two models follow."""

    def __init__(self) -> None:
        self.differences = Differences()
        self._squares, self._rows = 0.0, 0
        # By slice: rows, sum of differences, decided differently, labelled, good, bad.
        self._sums = BySlice(6)

    def add(
        self,
        differences: Array,
        differ: Array,
        rights: tuple[Array, Array],
        known: Array,
        slices: Array | None,
    ) -> None:
        """Adds some rows.

        Args:
            differences: Absolute differences, or total variations, [N].
            differ: True where the decisions differ, [N].
            rights: True where each model's decision is right, [N] for both; False without a label.
            known: True where the row has a label, [N].
            slices: The number of each row's slice, [N]; None without slices.
        """
        self.differences.add(differences)
        self._squares += float(np.dot(differences, differences))
        self._rows += len(differences)
        old, new = rights
        self._sums.add(slices, [None, differences, differ, known, new & ~old, old & ~new])

    def mean_square(self) -> float:
        """Returns the mean squared difference over all rows."""
        return self._squares / max(1, self._rows)

    def overall(self) -> Disagreement:
        """Returns the disagreement over all rows."""
        return _disagreement(self._sums.total())

    def by_slice(self, slices: Mapping[str, int]) -> dict[str, Disagreement]:
        """Returns {name: disagreement} of slices, given {name: number}."""
        return {name: _disagreement(self._sums.of(number)) for name, number in slices.items()}


def _disagreement(sums: npt.NDArray[np.float64]) -> Disagreement:
    rows, churn, differ, labelled, good, bad = map(float, sums)
    return Disagreement(
        rows=int(rows),
        churn=churn / rows if rows else None,
        disagreement=differ / rows if rows else None,
        good_churn=good / labelled if labelled else None,
        bad_churn=bad / labelled if labelled else None,
        churn_ratio=good / bad if bad else None,
    )
