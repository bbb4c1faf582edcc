"""The readings of one run: its losses on both parts of the validation data, and what they took.

Experiments choose on one half of the validation data (selection) and report on the other
(reporting). A run with several copies of the model stands for each of them: its curve is the mean
of theirs. If the run is scored as an ensemble, it is the loss of their mean prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvcod.errors import HvcodError
from hvcod.runs.curves import Curve, GroupCurves, read_curves
from hvcod.runs.levels import WINDOW

WEIGHTS = ("raw", "average")
"""The weights of the last step, and their exponential moving average."""

PARTS = ("selection", "reporting")
"""The halves of the validation data, in the order of ``validation_parts``."""

ENSEMBLE = "ensemble"
"""The score of an arm that is judged by the mean prediction of its copies."""

_NO_CURVE = Curve(np.zeros(0, dtype=np.int64), np.zeros(0))

Key = tuple[str, str]
"""Weights and part, such as ``("raw", "selection")``."""


@dataclass(frozen=True)
class Readings:
    """The readings of a run.

    Attributes:
        curves: {(weights, part): the metric at each validation}; lower is better. Without
            ``average``, if the run did not validate an average.
        sign: -1 if these are the negated values of a metric of which more is better, else 1.
        examples: Examples that a group had learned from, by step.
        seconds: Training time of the process, by step.
        step_s: Mean seconds of a training step, without validations; None if unknown.
        exchanged: Bytes that a group had written and read for teachers, by step; without any point
            if the run did not count them.
        processors: The kinds of processors that it was trained on.
        failed: Whether the loss or the gradient of a group became NaN or infinite.
    """

    curves: Mapping[Key, Curve]
    sign: int
    examples: Curve
    seconds: Curve
    step_s: float | None
    exchanged: Curve = _NO_CURVE
    processors: tuple[str, ...] = ()
    failed: bool = False

    @property
    def diverged(self) -> bool:
        """True if it failed, or has too few validations for a smoothed curve."""
        return self.failed or any(len(curve.steps) < WINDOW for curve in self.curves.values())

    @property
    def weights(self) -> list[str]:
        """The weights that were validated."""
        return [each for each in WEIGHTS if (each, PARTS[0]) in self.curves]


def read(
    run: Path,
    metric: str = "loss",
    score: str = "copies",
    group: int | None = None,
    steps: int | None = None,
) -> Readings:
    """Reads a run from its directory.

    Args:
        metric: A metric of the validation; all but ``loss`` are better if higher.
        score: ``ensemble``, or anything else for the mean of the copies.
        group: The group that stands for the run; None for all.
        steps: Where the curves end, if the run was trained on; None: at its end.

    Raises:
        HvcodError: The folder is not a run, or its validations lack one of the metrics.
    """
    groups = [each for each in read_curves(run) if group in (None, each.group)]
    sign = 1 if metric == "loss" else -1
    curves = {
        (weights, part): _until(steps, _mean_curve(each, sign))
        for weights, name in _names(metric, score, groups).items()
        for part, each in zip(PARTS, _by_part(run, groups, name), strict=True)
    }
    first = groups[0]
    return Readings(
        curves,
        sign,
        first.metrics["examples"],
        first.metrics["wall_s"],
        _step_seconds(first),
        _exchanged(groups),
        first.processors,
        any(each.diverged for each in groups),
    )


def _names(metric: str, score: str, groups: Sequence[GroupCurves]) -> dict[str, str]:
    """Returns {weights: the name of a metric}; of the average only if a group validated it."""
    first = f"validation_{ENSEMBLE}_" if score == ENSEMBLE else "validation_"
    average = f"{first}average_{metric}"
    measured = any(average in group.parts for group in groups)
    return {"raw": f"{first}{metric}"} | ({"average": average} if measured else {})


def _by_part(run: Path, groups: Sequence[GroupCurves], name: str) -> list[list[Curve]]:
    """Returns the curves of the groups over each part; one group alone scores the ensemble."""
    known = [group.parts[name] for group in groups if name in group.parts]
    if not known and not any(metric.startswith("validation_") for metric in groups[0].metrics):
        return [[_NO_CURVE] for _ in PARTS]
    if not known:
        words = name.removeprefix("validation_").replace("_", " ")
        raise HvcodError(f"{run}: no validation measured the {words} over parts of the data")
    if any(len(parts) != len(PARTS) for parts in known):
        raise HvcodError(f"{run} was trained without --validation-parts {len(PARTS)}")
    return [list(each) for each in zip(*known, strict=True)]


def _mean_curve(curves: Sequence[Curve], sign: int) -> Curve:
    """Returns the mean of curves at the steps that all of them have."""
    steps = curves[0].steps
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve.steps)
    values = [curve.values[np.isin(curve.steps, steps)] for curve in curves]
    return Curve(steps, sign * np.mean(values, axis=0))


def _until(steps: int | None, curve: Curve) -> Curve:
    """Returns the part of a curve within so many steps."""
    within = len(curve.steps) if steps is None else int((curve.steps <= steps).sum())
    return Curve(curve.steps[:within], curve.values[:within])


def _exchanged(groups: Sequence[GroupCurves]) -> Curve:
    """Returns the bytes that a group wrote and read for teachers, by the mean over the groups.

    What a group publishes that teaches nobody, such as its final weights, does not count.
    """
    if any("taken_bytes" not in group.metrics for group in groups):
        return _NO_CURVE
    taken = _mean_curve([group.metrics["taken_bytes"] for group in groups], 1)
    if len(groups) == 1 or not taken.values.any():
        return Curve(taken.steps, np.zeros(len(taken.steps)))
    published = _mean_curve([group.metrics["published_bytes"] for group in groups], 1)
    return Curve(taken.steps, taken.values + published.values)


def _step_seconds(group: GroupCurves) -> float | None:
    """Returns the mean of ``step_s``; without the first line, in which everything is made."""
    lines = group.metrics.get("step_s")
    return (
        float(np.mean(lines.values[1:] if len(lines.values) > 1 else lines.values))
        if lines
        else None
    )


def at(curve: Curve, step: float) -> float:
    """Returns a quantity that grows along the steps, such as examples, at a step between them."""
    return float(np.interp(step, [0, *curve.steps], [0.0, *curve.values]))
