"""Estimates over seeds: a mean with its interval, where some seeds may only have a bound.

The seeds are the sample: more validation examples say nothing about the next seed. Experiments have
few, so which interval is used matters. In the simulations of tests/experiments a percentile
bootstrap of three seeds covers the true mean in only 73% of the studies (of six: 84%), while
Student's covers it in 95%. So the interval is Student's below six seeds, and the symmetric
studentised bootstrap of `hvcod.churn.statistics` from there on. The percentile bootstrap is kept
beside it, as the figure that papers often print.

A seed that does not reach a level within its steps is *censored*: its ratio lies between 0 (never)
and a bound (just after the last step). The interval covers those of all combinations of both ends:
values that lie far apart have a wide interval, which may reach beyond that of the highest ones.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hvcod.churn import statistics

Interval = tuple[float, float]

MOST_COMBINED = 10
"""The largest number of censored seeds of which all combinations are tried."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        values: The value of each seed; of a censored one the highest that it may have.
        censored: Whether the value of each seed is only such a bound.
        mean: The mean of `values`: if one of them is censored, the highest that it may be.
        interval: The 95% interval; None for fewer than three seeds.
        bootstrap: The percentile bootstrap of `values`; None for a single seed.
    """

    values: tuple[float, ...]
    censored: tuple[bool, ...]
    mean: float
    interval: Interval | None
    bootstrap: Interval | None

    @property
    def missed(self) -> int:
        """The number of censored seeds."""
        return sum(self.censored)


def over_seeds(
    values: Sequence[float], censored: Sequence[bool] | None = None, least: float = 0.0
) -> Estimate:
    """Estimates the mean of a measure over seeds.

    Args:
        values: The value of each seed.
        censored: Whether it is only an upper bound; none is by default.
        least: The lowest value that a censored seed may have.
    """
    marks = tuple(censored or [False] * len(values))
    interval = _interval(values)
    if interval and any(marks):
        every = list(filter(None, map(_interval, _combinations(values, marks, least))))
        interval = max(least, min(low for low, _ in every)), max(high for _, high in every)
    return Estimate(tuple(values), marks, float(np.mean(values)), interval, _percentile(values))


def _combinations(
    values: Sequence[float], marks: Sequence[bool], least: float
) -> Iterator[list[float]]:
    """Yields the values with each censored one at its lowest or at its highest.

    The upper limit of Student's interval is a convex function of the values, and the lower one a
    concave function, so values between the two ends make no wider interval. Of more than
    `MOST_COMBINED` censored seeds only those combinations are tried in which the seeds with the
    highest bounds, or those with the lowest ones, are at their lowest: about 2 k of 2^k.
    """
    places = sorted((at for at, mark in enumerate(marks) if mark), key=lambda at: values[at])
    sets: Iterator[Sequence[int]] = itertools.chain.from_iterable(
        itertools.combinations(places, size) for size in range(len(places) + 1)
    )
    if len(places) > MOST_COMBINED:
        cuts = range(len(places) + 1)
        sets = itertools.chain((places[:cut] for cut in cuts), (places[cut:] for cut in cuts))
    for lowest in sets:
        yield [least if at in lowest else value for at, value in enumerate(values)]


def in_words(mean: float, interval: Interval | None, form: str, unit: str = "") -> str:
    """Returns a mean and its interval, if there is one, such as ``2.51 nats [2.03, 3.00]``.

    Args:
        form: The format of each number, such as ``.2f``.
        unit: What follows the mean, with a space in front.
    """
    if interval is None:
        return f"{mean:{form}}{unit}"
    low, high = interval
    return f"{mean:{form}}{unit} [{low:{form}}, {high:{form}}]"


def _interval(values: Sequence[float]) -> Interval | None:
    if not all(map(math.isfinite, values)):
        return None
    few = len(values) < statistics.FEWEST
    return (statistics.of_retrains(values) if few else statistics.resampled(values)).interval


def _percentile(values: Sequence[float]) -> Interval | None:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    generator = np.random.default_rng(len(values))
    drawn = generator.choice(values, size=(statistics.RESAMPLES, len(values))).mean(axis=1)
    tail = (1 - statistics.LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    return low, high
