"""The outcome of a branch test: losses, steps to the same loss, seconds and bytes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hvcod.advice.trial.arms import Arm
from hvcod.advice.trial.start import Start
from hvcod.errors import HvcodError
from hvcod.runs.curves import Curve, GroupCurves, read_curves
from hvcod.runs.levels import best, first_reached, smoothed
from hvcod.training.noise.logged import logged
from hvcod.training.noise.scale import NoiseScale, saving, scale_of

LOSS = "validation_loss"
BYTES = ("published_bytes", "taken_bytes", "allreduce_bytes")


@dataclass(frozen=True)
class Result:
    """The outcome of one run of a branch test.

    Attributes:
        name: ``B``, ``2B`` or ``two groups``.
        groups: Its groups.
        batch: Examples per group and step.
        learning_rate: At which it went on.
        loss: After all steps, on the validation data; the mean of its groups.
        steps: From the saved state to B's best loss, on the smoothed curve; None if it was not
            reached.
        saving: B's steps to that loss over its own; None if it was not reached.
        predicted: The saving of 2B that the noise scale predicts, and its range; None if unknown.
        step_s: Mean seconds of a step, without validations.
        seconds: To B's best loss.
        bytes: {what its ranks and groups sent each other: bytes a step}, all groups together;
            empty if the metrics do not say.
    """

    name: str
    groups: int
    batch: int
    learning_rate: float
    loss: float
    steps: float | None
    saving: float | None
    predicted: tuple[float, float, float] | None
    step_s: float | None
    seconds: float | None
    bytes: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a branch test.

    Attributes:
        start: What its runs have in common.
        level: B's best loss, on the smoothed curve.
        noise: The gradient noise scale that B measured, in examples; None if it could not.
        first_taught: The step from which on the two groups taught each other.
        results: Of B, 2B and two groups.
    """

    start: Start
    level: float
    noise: NoiseScale | None
    first_taught: int
    results: list[Result]

    def tree(self) -> dict[str, Any]:
        """Returns all of it as plain values, for JSON."""
        values = dataclasses.asdict(self)
        noise = self.noise._asdict() if self.noise else None
        return {**values, "noise": noise}


def outcome(start: Start, arms: Sequence[Arm]) -> Outcome:
    """Returns what came of the finished runs of a branch test.

    Raises:
        HvcodError: Their metrics cannot be read, or hold too few validations.
    """
    curves = {arm.name: read_curves(arm.run_dir) for arm in arms}
    losses = {name: _mean(groups) for name, groups in curves.items()}
    of_b = smoothed(losses["B"])
    level = best(of_b)
    readings = logged(arms[0].run_dir, 0)
    noise = scale_of(readings) if readings else None
    taught = next(arm.first_taught for arm in arms if arm.first_taught is not None)
    results = []
    for arm in arms:
        reached = first_reached(smoothed(losses[arm.name]), level.value)
        steps = None if reached is None else reached - start.step
        step_s = _step_seconds(curves[arm.name])
        results.append(
            Result(
                name=arm.name,
                groups=arm.options.groups,
                batch=arm.options.group_batch_size or 0,
                learning_rate=arm.options.optimizer.learning_rate,
                loss=float(losses[arm.name].values[-1]),
                steps=steps,
                saving=(level.step - start.step) / steps if steps else None,
                predicted=_predicted(noise, start.examples) if arm.name == "2B" else None,
                step_s=step_s,
                seconds=steps * step_s if steps and step_s else None,
                bytes=_bytes(curves[arm.name]),
            )
        )
    return Outcome(start, level.value, noise, taught, results)


def _predicted(noise: NoiseScale | None, batch: int) -> tuple[float, float, float] | None:
    if noise is None:
        return None
    at, low, high = (saving(each, batch) for each in (noise.scale, noise.low, noise.high))
    return at, low, high


def _mean(groups: Sequence[GroupCurves]) -> Curve:
    """Returns the mean of the groups' validation losses."""
    curves = [group.metrics[LOSS] for group in groups if LOSS in group.metrics]
    if len(curves) < len(groups) or any(len(each.steps) != len(curves[0].steps) for each in curves):
        raise HvcodError("a run of the branch test has lost lines of its metrics")
    return Curve(curves[0].steps, np.mean([curve.values for curve in curves], axis=0))


def _step_seconds(groups: Sequence[GroupCurves]) -> float | None:
    """Returns the mean seconds of a step; groups of one process take turns, a step each."""
    known = [group.metrics["step_s"].values for group in groups if "step_s" in group.metrics]
    return float(np.mean([values.mean() for values in known])) if known else None


def _bytes(groups: Sequence[GroupCurves]) -> dict[str, float]:
    """Returns {kind: bytes a step} of all groups, from counts that grow with the steps."""
    sent: dict[str, float] = {}
    for name in BYTES:
        for curve in (group.metrics[name] for group in groups if name in group.metrics):
            if len(curve.steps) > 1:
                grown, steps = (float(each[-1] - each[0]) for each in (curve.values, curve.steps))
                sent[name] = sent.get(name, 0.0) + grown / steps
    return sent
