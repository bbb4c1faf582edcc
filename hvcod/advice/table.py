"""The time to the same loss of one group of all ranks, of two groups and of four."""

import math
from collections.abc import Callable
from typing import NamedTuple

from hvcod.advice.bound import Bound
from hvcod.training.noise.scale import NoiseScale, saving

GROUPS = (1, 2, 4)


class Range(NamedTuple):
    """A figure that lies between two ends, as far as is known; the upper one may be infinite.

    Attributes:
        value: The best guess; None if nothing speaks for any value between the ends.
    """

    low: float
    value: float | None
    high: float

    def times(self, factor: float) -> "Range":
        """Returns it times a number."""
        value = None if self.value is None else factor * self.value
        return Range(factor * self.low, value, factor * self.high)


class Row(NamedTuple):
    """A way to use all ranks, beside a group of the run that learns alone.

    Attributes:
        groups: Number of groups.
        ranks: Ranks of each.
        batch: Examples of each in a step.
        steps: Steps to the same loss, as a multiple of those of the lone group.
        step_s: Seconds of a step, None if unknown.
        time: Time to the same loss, as a multiple of the lone group's; None if unknown.
    """

    groups: int
    ranks: int
    batch: int
    steps: Range
    step_s: float | None
    time: Range | None


def rows_of(
    noise: NoiseScale,
    batch: int,
    ranks: int,
    every: int,
    bound: Callable[[int], Bound | None],
    seconds: Callable[[int], float | None],
) -> list[Row]:
    """Returns the rows of those of 1, 2 and 4 groups that can share the ranks.

    Args:
        noise: Of a group of the run.
        batch: Its examples in a step.
        ranks: Its ranks.
        every: The ranks to share.
        bound: How much teaching among so many groups saves at most; None: unknown.
        seconds: The seconds of a step of so many groups, and of the lone group for 0.
    """
    alone, rows = seconds(0), []
    for groups in GROUPS:
        if every % groups or batch * every // groups % ranks:
            continue
        share = every // groups
        larger = batch * share // ranks
        steps = steps_of(noise, batch, larger)
        if groups > 1:
            steps = taught(steps, bound(groups))
        step_s = seconds(groups)
        known = step_s is not None and alone
        time = steps.times(step_s / alone) if step_s is not None and alone else None
        rows.append(Row(groups, share, larger, steps, step_s, time if known else None))
    return rows


def steps_of(noise: NoiseScale, batch: int, other: int) -> Range:
    """Returns the steps that another batch needs to the same loss, as a multiple of a batch's.

    There is no best guess where the gradient cannot be told from zero.
    """
    value, *ends = (
        1 / saving(scale, batch, other / batch) for scale in (noise.scale, noise.low, noise.high)
    )
    return Range(min(ends), None if math.isinf(noise.scale) else value, max(ends))


def taught(steps: Range, bound: Bound | None) -> Range:
    """Returns the steps of groups that teach each other: no more than alone, and at least so many.

    Nothing tells where between the two; without a bound they may be any number.
    """
    least = math.inf if bound is None else bound.high
    return Range(steps.low / least, None, steps.high)
