"""Made-up readings with a known answer."""

from collections.abc import Mapping, Sequence

import numpy as np

from hvcod.experiments.measuring.readings import Readings
from hvcod.runs.curves import Curve

Points = Sequence[tuple[int, float]]


def curve(points: Points) -> Curve:
    steps, values = [step for step, _ in points], [value for _, value in points]
    return Curve(np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))


def readings(
    raw: Points | Curve,
    *,
    selection: Points | Curve | None = None,
    average: Points | Curve | None = None,
    average_selection: Points | Curve | None = None,
    sign: int = 1,
    step_s: float | None = 0.5,
    between: float = 0.0,
) -> Readings:
    """Readings whose parts and weights are equal unless told otherwise; a step takes a second."""
    reporting = made(raw)
    choosing = made(selection) if selection is not None else reporting
    averaged = made(average) if average is not None else reporting
    curves: Mapping[tuple[str, str], Curve] = {
        ("raw", "selection"): choosing,
        ("raw", "reporting"): reporting,
        ("average", "selection"): made(average_selection) if average_selection else choosing,
        ("average", "reporting"): averaged,
    }
    signed = {key: Curve(each.steps, sign * each.values) for key, each in curves.items()}
    steps = reporting.steps
    growing = [Curve(steps, times * steps.astype(np.float64)) for times in (64, 1, between)]
    examples, seconds, exchanged = growing
    return Readings(signed, sign, examples, seconds, step_s, exchanged)


def made(points: Points | Curve) -> Curve:
    return points if isinstance(points, Curve) else curve(points)


def line(begin: float, slope: float, steps: int, every: int = 10) -> Curve:
    """A straight line, which smoothing leaves where it is."""
    at = np.arange(every, steps + 1, every)
    return Curve(at, np.asarray(begin + slope * at, dtype=np.float64))
