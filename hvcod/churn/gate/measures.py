"""Measures of some candidates against the model in production, from one pass over aligned rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.churn.gate.intervals import Interval, of_mean, of_share
from hvcod.churn.measures.comparison import decisions, total_variation
from hvcod.churn.measures.differences import Differences
from hvcod.churn.measures.model import ModelFigures, ModelMeasures, log_losses, of_right_class
from hvcod.churn.measures.slices import BySlice, Floats

Array = npt.NDArray[Any]

MEASURES = ("churn", "flips", "gain")
"""The measures that can have a limit."""

SHOWN = {
    "churn": "churn (mean absolute difference)",
    "flips": "flips (decided differently)",
    "good_flips": "good flips (wrong to right)",
    "bad_flips": "bad flips (right to wrong)",
    "gain": "gain in log loss",
}
"""The measures in words."""


@dataclass(frozen=True)
class Figure:
    """A measure of a candidate against production over some rows.

    Attributes:
        estimate: Its value on these rows; None without rows.
        interval: Its interval over the rows; None if there are too few.
        rows: The number of rows; for the gain those with a label.
    """

    estimate: float | None
    interval: Interval | None
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the figure as plain values."""
        low, high = self.interval or (None, None)
        return {"estimate": self.estimate, "low": low, "high": high, "rows": self.rows}


@dataclass(frozen=True)
class Compared:
    """Measures of a candidate against production over some rows.

    Attributes:
        churn: Mean absolute difference of the probabilities; for several classes total variation.
        flips: Share of the rows that are decided differently.
        good_flips: Share of the labelled rows where production is wrong and the candidate right.
        bad_flips: Share of the labelled rows where production is right and the candidate wrong.
        gain: Log loss of production minus that of the candidate, in nats.
    """

    churn: Figure
    flips: Figure
    good_flips: Figure
    bad_flips: Figure
    gain: Figure

    def to_dict(self) -> dict[str, Any]:
        """Returns the measures as plain values."""
        return {name: getattr(self, name).to_dict() for name in SHOWN}


@dataclass(frozen=True)
class Candidate:
    """All measures of a candidate.

    Attributes:
        model: Measures of its own.
        overall: Measures against production over all rows.
        slices: {slice: those over its rows}.
        quantiles: {share: quantile of the absolute differences}.
    """

    model: ModelFigures
    overall: Compared
    slices: Mapping[str, Compared]
    quantiles: Mapping[str, float]

    @property
    def name(self) -> str:
        """The name of the candidate."""
        return self.model.name


class GateMeasures:
    """Sums over rows from which the measures follow; the first model is that in production.

    Args:
        models: The number of models.
        threshold: The probability from which the decision is yes.
    """

    def __init__(self, models: int, threshold: float) -> None:
        self._threshold = threshold
        self._rows = BySlice(1)
        self._models = [ModelMeasures() for _ in range(models)]
        self._sums = [_Sums() for _ in range(models - 1)]

    def add(self, predictions: Sequence[Array], labels: Array, slices: Array | None) -> None:
        """Adds some rows; see `hvcod.churn.together.Measures`."""
        numbers = np.zeros(len(labels), dtype=np.int64) if slices is None else slices
        self._rows.add(numbers, [None])
        known = labels >= 0
        decided = [decisions(predicted, self._threshold) for predicted in predictions]
        rights = [known & (decision == labels) for decision in decided]
        losses = []
        for model, predicted, right in zip(self._models, predictions, rights, strict=True):
            own, parts = predicted[known], numbers[known]
            if known.any():
                model.add(own, labels[known], right[known], parts)
            loss = np.zeros(len(labels))
            loss[known] = log_losses(of_right_class(own, labels[known]))
            losses.append(loss)
        for number, sums in enumerate(self._sums, start=1):
            sums.add(
                numbers,
                total_variation(predictions[0], predictions[number]),
                decided[0] != decided[number],
                known,
                (rights[0], rights[number]),
                losses[0] - losses[number],
            )

    def slice_rows(self, slices: Mapping[str, int]) -> dict[str, int]:
        """Returns {name: rows} of the slices that have rows, given {name: number} of all."""
        rows = {name: int(self._rows.of(number)[0]) for name, number in slices.items()}
        return {name: count for name, count in rows.items() if count}

    def figures(
        self, names: Sequence[str], slices: Mapping[str, int], confidence: float
    ) -> tuple[ModelFigures, list[Candidate]]:
        """Returns the measures of production, and those of the candidates.

        Args:
            names: The names of the models, production first.
            slices: {name: number} of the slices that have rows.
            confidence: That of the intervals, such as 0.95.
        """
        named = zip(self._models, names, strict=True)
        production, *models = [model.figures(name, slices) for model, name in named]
        return production, [
            Candidate(
                model,
                _compared(sums.by_slice.total(), confidence),
                {
                    name: _compared(sums.by_slice.of(number), confidence)
                    for name, number in slices.items()
                },
                sums.differences.quantiles(),
            )
            for model, sums in zip(models, self._sums, strict=True)
        ]


class _Sums:
    """Sums of a candidate against production, by slice."""

    def __init__(self) -> None:
        self.differences = Differences()
        # 1, d, d^2, d^3; flips; known; good flips, bad flips; the gain, its square, its cube.
        self.by_slice = BySlice(11)

    def add(
        self,
        slices: Array,
        differences: Array,
        flips: Array,
        known: Array,
        rights: tuple[Array, Array],
        gains: Array,
    ) -> None:
        """Adds some rows; `gains` are 0 where no label is known."""
        self.differences.add(differences)
        old, new = rights
        powers = [None, *(differences**power for power in (1, 2, 3))]
        of_gain = [gains**power for power in (1, 2, 3)]
        self.by_slice.add(slices, [*powers, flips, known, new & ~old, old & ~new, *of_gain])


def _compared(sums: Floats, confidence: float) -> Compared:
    rows, labelled = float(sums[0]), float(sums[5])
    flips, good, bad = (
        Figure(_mean(hits, count), of_share(hits, count, confidence), int(count))
        for hits, count in ((sums[4], rows), (sums[6], labelled), (sums[7], labelled))
    )
    churn, gain = (
        Figure(_mean(powers[1], powers[0]), of_mean(powers, confidence), int(powers[0]))
        for powers in (sums[:4], sums[[5, 8, 9, 10]])
    )
    if churn.interval is not None:
        low, high = churn.interval
        churn = replace(churn, interval=(max(0.0, low), min(high, 1.0)))  # No churn lies outside.
    return Compared(churn, flips, good, bad, gain)


def _mean(total: float, rows: float) -> float | None:
    return float(total / rows) if rows else None
