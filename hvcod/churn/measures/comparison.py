"""All measures of some models and of their pairs, from one pass over aligned predictions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hvcod.churn.measures.model import ModelFigures, ModelMeasures
from hvcod.churn.measures.pair import PairFigures, PairMeasures
from hvcod.churn.measures.ranks import RankCorrelation
from hvcod.churn.measures.slices import BySlice

Array = npt.NDArray[Any]

DENSITY_BINS = 64


@dataclass(frozen=True)
class MethodFigures:
    """The measures of the retrains of one method.

    Attributes:
        models, pairs: The measures of each retrain, and of each pair of them.
        density: The number of rows by the two predictions of the first pair,
            [DENSITY_BINS, DENSITY_BINS]; None for several classes or a single model.
        against_production: The measures of the model in production and each retrain, in this
            order; empty without such a model.
    """

    models: Sequence[ModelFigures]
    pairs: Sequence[PairFigures]
    density: npt.NDArray[np.int64] | None
    against_production: Sequence[PairFigures] = ()


class Comparison:
    """A comparison of the models of each method with each other, and with that in production.

    Args:
        methods: {method: names of its retrains}, in the order of the predictions in `add`.
        classes: The number of classes; None for a single number per row.
        threshold: The probability from which the decision is yes.
        scratch: An empty temporary file; the caller closes it.
        production: The name of the model in production, whose predictions come last in `add`.
    """

    def __init__(
        self,
        methods: Mapping[str, Sequence[str]],
        classes: int | None,
        threshold: float,
        scratch: BinaryIO,
        production: str | None = None,
    ) -> None:
        self._threshold, self.classes = threshold, classes
        self._rows = BySlice(1)
        self._names: list[str] = []
        self._models_of: dict[str, range] = {}
        for method, names in methods.items():
            self._models_of[method] = range(len(self._names), len(self._names) + len(names))
            self._names += names
        self._production = None if production is None else len(self._names)
        self._names += [] if production is None else [production]
        self._models = [ModelMeasures() for _ in self._names]
        self._pairs = {
            pair: PairMeasures()
            for numbers in self._models_of.values()
            for pair in [*combinations(numbers, 2), *self._with_production(numbers)]
        }
        self._ranks = RankCorrelation(len(self._names), scratch) if classes is None else None
        self._density = {
            method: np.zeros((DENSITY_BINS, DENSITY_BINS), dtype=np.int64)
            for method, numbers in self._models_of.items()
            if len(numbers) > 1 and classes is None
        }

    def add(self, predictions: Sequence[Array], labels: Array, slices: Array | None) -> None:
        """Adds some rows.

        Args:
            predictions: For each model [N] or [N, classes], between 0 and 1.
            labels: The right classes, [N]; -1 where they are unknown.
            slices: The number of each row's slice, [N]; None without slices.
        """
        if slices is not None:
            self._rows.add(slices, [None])
        known = labels >= 0
        decided = [decisions(predicted, self._threshold) for predicted in predictions]
        rights = [known & (decision == labels) for decision in decided]
        # A slice does not copy, unlike an index by row.
        labelled = slice(None) if known.all() else known
        parts = None if slices is None else slices[labelled]
        if known.any():
            for model, predicted, right in zip(self._models, predictions, rights, strict=True):
                model.add(predicted[labelled], labels[labelled], right[labelled], parts)
        for (old, new), pair in self._pairs.items():
            differences = total_variation(predictions[old], predictions[new])
            differ = decided[old] != decided[new]
            pair.add(differences, differ, (rights[old], rights[new]), known, slices)
        if self._ranks:
            self._ranks.add(np.stack(predictions))
        for method, density in self._density.items():
            first = self._models_of[method].start
            density += _density(predictions[first], predictions[first + 1])

    def _with_production(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """The pairs of the model in production and some others; none without such a model."""
        return [] if self._production is None else [(self._production, one) for one in numbers]

    def slice_rows(self, slices: Mapping[str, int]) -> dict[str, int]:
        """Returns {name: rows} of the slices that have rows, given {name: number} of all."""
        rows = {name: int(self._rows.of(number)[0]) for name, number in slices.items()}
        return {name: count for name, count in rows.items() if count}

    def figures(self, slices: Mapping[str, int]) -> dict[str, MethodFigures]:
        """Returns {method: its measures}, given {name: number} of the slices that have rows."""
        ranks = self._ranks.values() if self._ranks else None
        models = self._model_figures(slices)

        def measured(pairs: Iterable[tuple[int, int]]) -> list[PairFigures]:
            return [self._pair(models, pair, slices, ranks) for pair in pairs]

        return {
            method: MethodFigures(
                models=[models[number] for number in numbers],
                pairs=measured(combinations(numbers, 2)),
                density=self._density.get(method),
                against_production=measured(self._with_production(numbers)),
            )
            for method, numbers in self._models_of.items()
        }

    def production(self, slices: Mapping[str, int]) -> ModelFigures | None:
        """Returns the measures of the model in production, if there is one."""
        return None if self._production is None else self._model_figures(slices)[self._production]

    def _model_figures(self, slices: Mapping[str, int]) -> list[ModelFigures]:
        named = zip(self._names, self._models, strict=True)
        return [model.figures(name, slices) for name, model in named]

    def _pair(
        self,
        models: Sequence[ModelFigures],
        numbers: tuple[int, int],
        slices: Mapping[str, int],
        ranks: tuple[Array, Array] | None,
    ) -> PairFigures:
        (first, second), pair = (models[number] for number in numbers), self._pairs[numbers]
        correlation, error = (float(matrix[numbers]) for matrix in ranks) if ranks else (None, None)
        return PairFigures(
            first=first.name,
            second=second.name,
            overall=pair.overall(),
            quantiles=pair.differences.quantiles(),
            rank_correlation=None if correlation is None or np.isnan(correlation) else correlation,
            rank_correlation_error=error,
            mean_square=pair.mean_square(),
            log_loss_difference=_change(first.log_loss, second.log_loss),
            calibration_difference=_change(first.calibration, second.calibration),
            slices=pair.by_slice(slices),
            differences=pair.differences,
        )


def _change(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else new - old


def decisions(predictions: Array, threshold: float) -> Array:
    """Returns the class that each row is decided to be, int [N]: yes from a threshold, or the top.

    Args:
        predictions: [N] or [N, classes].
        threshold: The probability from which the decision is yes, if there is a single number.
    """
    if predictions.ndim == 1:
        return (predictions >= threshold).astype(np.int64)
    return np.asarray(predictions.argmax(axis=1))


def total_variation(old: Array, new: Array) -> Array:
    """Returns half the sum of the absolute differences of distributions, float64 [N].

    For [N] probabilities of one of two classes this is their absolute difference.
    """
    if old.ndim == 1:
        return np.abs(np.subtract(old, new, dtype=np.float64))
    return np.asarray(np.minimum(np.abs(old - new).sum(axis=1, dtype=np.float64) / 2, 1.0))


def _density(first: Array, second: Array) -> npt.NDArray[np.int64]:
    bins = [
        np.minimum((predicted * DENSITY_BINS).astype(np.int64), DENSITY_BINS - 1)
        for predicted in (first, second)
    ]
    counts = np.bincount(bins[0] * DENSITY_BINS + bins[1], minlength=DENSITY_BINS**2)
    return counts.reshape(DENSITY_BINS, DENSITY_BINS)
