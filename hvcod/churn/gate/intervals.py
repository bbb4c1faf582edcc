"""Intervals of measures of two models, over the rows on which both have predicted.

The two models are given; the rows are the sample. An interval says where the measure may lie on the
rows that these were drawn from, if they were drawn independently. It says nothing about the next
retrain: that is the subject of `hvcod.churn.statistics`.
"""

import math

from scipy.special import betaincinv, stdtrit

from hvcod.churn.measures.slices import Floats

FEWEST_ROWS = 30
"""The smallest number of rows for the interval of a mean."""

Interval = tuple[float, float]


def of_mean(powers: Floats, confidence: float) -> Interval | None:
    """Returns the interval of a mean, from sums of powers; None below `FEWEST_ROWS` rows.

    Absolute differences are skewed, so that Student's interval reaches too far down and not far
    enough up. Hall (1992, Journal of the Royal Statistical Society B 54, 221) removes the skewness
    by a cubic transformation of Student's ratio. Each end is that of the wider one of the two
    intervals, because Hall's is a little too narrow where values are symmetric and rows few.

    Args:
        powers: The sums over the rows of 1, x, x**2 and x**3.
        confidence: Such as 0.95.
    """
    rows = float(powers[0])
    if rows < FEWEST_ROWS:
        return None
    mean, squares, cubes = (float(power) / rows for power in powers[1:])
    variance = squares - mean**2
    # What is left of equal values is rounding.
    if variance <= 1e-12 * squares:
        return mean, mean
    skewness = (cubes - 3 * mean * squares + 2 * mean**3) / variance**1.5
    error = math.sqrt(variance / (rows - 1))
    reach = float(stdtrit(rows - 1, (1 + confidence) / 2))
    down, up = (_straightened(ratio, skewness / math.sqrt(rows)) for ratio in (reach, -reach))
    return mean - error * max(reach, down), mean - error * min(-reach, up)


def _straightened(ratio: float, skewness: float) -> float:
    """Student's ratio that Hall's transformation takes to a ratio; its inverse.

    Args:
        skewness: That of the values over the root of the number of rows.
    """
    shifted = ratio - skewness / 6
    if abs(skewness) < 1e-6:
        return shifted
    return 3 * (math.cbrt(1 + skewness * shifted) - 1) / skewness


def of_share(hits: float, rows: float, confidence: float) -> Interval | None:
    """Returns the interval of a share of the rows; None without rows.

    It is that of Clopper and Pearson (1934), which is never too narrow, however few the rows.
    """
    if not rows:
        return None
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, rows - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, rows - hits, 1 - tail)) if hits < rows else 1.0
    return low, high
