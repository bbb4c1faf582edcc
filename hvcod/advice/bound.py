"""The most that teaching could save, by the ensemble gap and the learning curve of a run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from hvcod.advice.gap import Gap
from hvcod.errors import HvcodError
from hvcod.runs.curves import GroupCurves
from hvcod.runs.levels import best, first_reached, smoothed

LOSS = "validation_loss"


class Bound(NamedTuple):
    """The largest ratio by which teaching saves steps; infinite if the curve does not say.

    Attributes:
        saving: By the gap itself; at least 1.
        low: By the lower end of the gap's interval, and the group for which it is least.
        high: By the upper end.
    """

    saving: float
    low: float
    high: float


def bound_of(gap: Gap, curves: Sequence[GroupCurves], factor: float = 1.0) -> Bound | None:
    """Returns what a gap is worth in steps; None if no group has validations enough.

    A taught model that is better than an untaught one by the whole gap, from early on, reaches the
    best loss L of its curve where the untaught one is at L + gap. `factor` times the gap counts.
    """
    low = gap.gap if gap.low is None else gap.low
    high = gap.gap if gap.high is None else gap.high
    known = [curve for group in curves if (curve := group.metrics.get(LOSS)) is not None]
    found = []
    for curve in known:
        try:
            smooth = smoothed(curve)
        except HvcodError:
            continue
        goal, first = best(smooth), float(smooth.steps[0])
        savings = []
        for nats in (gap.gap, low, high):
            step = first_reached(smooth, goal.value + max(0.0, factor * nats))
            # Before the first point of the curve nothing is known.
            savings.append(math.inf if step is None or step <= first else goal.step / step)
        found.append(savings)
    if not found:
        return None
    values, lows, highs = zip(*found, strict=True)
    return Bound(sum(values) / len(values), min(lows), max(highs))


def factor_of(groups: int, measured: int) -> float:
    """Returns the gap of so many groups as a share of the one that was measured of some.

    The part of the loss that comes of the copies' own errors falls as 1 / groups, if these are
    independent: a gap grows as 1 - 1 / groups.
    """
    return (1 - 1 / groups) / (1 - 1 / measured)
