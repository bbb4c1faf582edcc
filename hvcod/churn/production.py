"""Measures of the retrains of a method against the model in production.

The model in production is one and stays as it is, so the figures of the retrains against it are
independent of each other, unlike those of pairs of retrains; their intervals are Student's. It
counts as the old model of each pair, so that good churn is what a retrain puts right.
"""

from collections.abc import Sequence

from hvcod.churn.measures.comparison import MethodFigures
from hvcod.churn.measures.pair import PairFigures
from hvcod.churn.sliced import OF_PAIRS
from hvcod.churn.statistics import Estimate, of_retrains, reduction_of_retrains

OF_BOTH = ("rank_correlation", "log_loss_difference", "calibration_difference")
"""Measures of a pair as a whole; the differences are the retrain's minus production's."""


def against_production(
    method: MethodFigures, first: MethodFigures | None
) -> dict[str, Estimate | None]:
    """Returns {measure: its mean over the retrains of a method}, of those that are known.

    Args:
        first: The method against whose churn `churn_reduction` is; None for the first one itself.
    """
    changes: dict[str, Estimate | None] = {}
    for measure in (*OF_PAIRS, *OF_BOTH):
        if values := _values(method.against_production, measure):
            changes[measure] = of_retrains(values)
    if first is not None:
        ours, theirs = (_values(one.against_production, "churn") for one in (method, first))
        changes["churn_reduction"] = reduction_of_retrains(ours, theirs)
    return changes


def _values(pairs: Sequence[PairFigures], measure: str) -> list[float]:
    """The values of a measure, if all pairs have it."""
    parts = [pair if measure in OF_BOTH else pair.overall for pair in pairs]
    values = [getattr(part, measure) for part in parts]
    return values if None not in values else []
