"""Measures of the retrains of a method in one slice of the rows, and against another method."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hvcod.churn.measures.comparison import MethodFigures
from hvcod.churn.statistics import Estimate, difference, reduction

OF_PAIRS = ("churn", "disagreement", "good_churn", "bad_churn", "churn_ratio")
"""Measures of pairs of retrains that every slice has."""

AGAINST_PRODUCTION = "churn_against_production"
"""The mean churn of the retrains against the model in production."""


@dataclass(frozen=True)
class SliceFigures:
    """Measures of a method in a slice.

    Attributes:
        means: {measure: its mean}: the log loss over the retrains, the measures of pairs over all
            pairs. None for a measure that is unknown; a method of one retrain has none of pairs.
            `AGAINST_PRODUCTION` is there if a model in production is.
        against_first: The churn reduction and the log loss difference against the first method.
    """

    means: Mapping[str, float | None]
    against_first: Mapping[str, Estimate | None]

    def to_dict(self) -> dict[str, Any]:
        """Returns the measures as plain values."""
        changes = {key: value and asdict(value) for key, value in self.against_first.items()}
        return {**self.means, "against_first": changes}


def slice_figures(method: MethodFigures, first: MethodFigures | None, part: str) -> SliceFigures:
    """Returns the measures of a slice.

    Args:
        first: The method that it is compared with; None for the first one itself.
        part: The name of the slice.
    """
    means = {"log_loss": _mean(_losses(method, part))}
    if method.pairs:
        means |= {measure: _mean(_values(method, part, measure)) for measure in OF_PAIRS}
    if method.against_production:
        churns = [pair.slices[part].churn for pair in method.against_production]
        means[AGAINST_PRODUCTION] = _mean(churns)
    if first is None:
        return SliceFigures(means, {})
    both = (method, first)
    both_churns = [_values(one, part, "churn") for one in both]
    return SliceFigures(means, changes_of(both_churns, [_losses(one, part) for one in both]))


def changes_of(
    churns: Sequence[Sequence[float | None] | None], losses: Sequence[Sequence[float | None]]
) -> dict[str, Estimate | None]:
    """Returns the churn reduction and the log loss difference of a method against another one.

    Args:
        churns: The churn of all pairs of each of the two methods.
        losses: The log loss of each of their retrains.
    """
    found: dict[str, Estimate | None] = {}
    ours, theirs = map(_known, churns)
    if ours and theirs:
        found["churn_reduction"] = reduction(ours, theirs)
    ours, theirs = map(_known, losses)
    if ours and theirs:
        found["log_loss_difference"] = difference(ours, theirs)
    return found


def _values(method: MethodFigures, part: str, measure: str) -> list[float | None]:
    return [getattr(pair.slices[part], measure) for pair in method.pairs]


def _losses(method: MethodFigures, part: str) -> list[float | None]:
    return [model.slices[part] for model in method.models]


def _known(values: Sequence[float | None] | None) -> list[float]:
    """The values, if all are known."""
    known = [value for value in values or () if value is not None]
    return known if len(known) == len(values or ()) else []


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None
