"""The best value of a learning curve, and the step at which a curve reaches a level.

A single validation is noisy, and the lowest of many is low by chance, so both are read off a
smoothed curve: the mean of each point and its two neighbours. The first and the last point have
only one neighbour and are left out, so a straight line stays where it is.

Lower values are better here: `hvcod.experiments.measuring.readings` negates an accuracy.
"""

from typing import NamedTuple

import numpy as np

from hvcod.errors import HvcodError
from hvcod.runs.curves import Curve

WINDOW = 3
"""The points that are averaged into a point of a smoothed curve."""


class Best(NamedTuple):
    """The lowest value of a smoothed curve, and the first step that has it."""

    step: int
    value: float


def smoothed(curve: Curve) -> Curve:
    """Returns the mean of each point and its two neighbours, without the first and last point.

    Raises:
        HvcodError: There are fewer than three points.
    """
    if len(curve.steps) < WINDOW:
        raise HvcodError(f"a curve of {len(curve.steps)} validations cannot be smoothed: train on")
    middle = np.convolve(curve.values, np.full(WINDOW, 1 / WINDOW), mode="valid")
    return Curve(curve.steps[1:-1], middle)


def best(curve: Curve) -> Best:
    """Returns the best point of a smoothed curve."""
    index = int(np.argmin(curve.values))
    return Best(int(curve.steps[index]), float(curve.values[index]))


def first_reached(curve: Curve, level: float) -> float | None:
    """Returns the step at which a curve first reaches a level, None if it never does.

    Between two points the curve is a straight line. A curve that begins at or below the level
    reaches it at its first point.
    """
    below = np.flatnonzero(curve.values <= level)
    if not len(below):
        return None
    after = int(below[0])
    if after == 0:
        return float(curve.steps[0])
    (x0, x1), (y0, y1) = (each[after - 1 : after + 1].tolist() for each in curve)
    return float(x0 + (x1 - x0) * (y0 - level) / (y0 - y1))
