"""The results of an experiment: each arm with its chosen candidate, and two arms compared by seed.

An arm with several candidates is tuned: the candidate with the best mean over seeds of its best
value on the selection part is reported, on the reporting part. Raw and averaged weights are chosen
for separately, so neither has the other's candidate.

Steps to reach: L* is the best value of the smoothed curve of one seed of an arm, reached at S*.
Another arm reaches L* with the same seed at S, by linear interpolation on its smoothed curve. The
speed-up is S*/S, so 2 stands for half of the steps. An arm that does not reach L* within its steps
has a speed-up between 0 and S* divided by its last step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hvcod.errors import HvcodError
from hvcod.experiments.measuring.estimates import Estimate, over_seeds
from hvcod.experiments.measuring.readings import WEIGHTS, Readings
from hvcod.runs.curves import Curve
from hvcod.runs.levels import Best, best, first_reached, smoothed

Runs = Mapping[str, Mapping[int, Readings]]
"""{candidate: {seed: the readings of its run}} of an arm."""

BEST = "best"
"""Raw or averaged weights, those that are better on the selection part."""


@dataclass(frozen=True)
class Outcome:
    """One seed of an arm on the reporting part; lower is better.

    Attributes:
        curve: The smoothed curve; its steps count those that its teachers had made before.
        best: Its best point.
        final: The last validation, which is not smoothed.
    """

    curve: Curve
    best: Best
    final: float


@dataclass(frozen=True)
class Scored:
    """An arm, scored on raw or on averaged weights.

    Attributes:
        weights: ``raw`` or ``average``.
        candidate: The candidate that was chosen.
        choices: {candidate: mean over seeds of its best on the selection part}, lower is better;
            infinite if a seed diverged.
        seeds: {seed: its outcome}, in ascending order.
        readings: {seed: what the run measured}.
        sign: -1 if all values are negated, see `Readings`.
    """

    arm: str
    weights: str
    candidate: str
    choices: Mapping[str, float]
    seeds: Mapping[int, Outcome]
    readings: Mapping[int, Readings]
    sign: int

    @property
    def best(self) -> Estimate:
        """The best value over seeds, as the metric is printed."""
        return over_seeds([self.sign * seed.best.value for seed in self.seeds.values()])

    @property
    def final(self) -> Estimate:
        """The last value over seeds, as the metric is printed."""
        return over_seeds([self.sign * seed.final for seed in self.seeds.values()])

    @property
    def improving(self) -> int:
        """The number of seeds whose best is the last point: longer training might go lower."""
        return sum(seed.best.step == int(seed.curve.steps[-1]) for seed in self.seeds.values())

    @property
    def best_step(self) -> Estimate:
        """The step of the best value over seeds."""
        return over_seeds([float(seed.best.step) for seed in self.seeds.values()])


@dataclass(frozen=True)
class Compared:
    """An arm against another one, paired by seed.

    Attributes:
        reached: {seed: the step at which the arm reaches the other's best}; None: never.
        speedup: The other's steps to its best, divided by these.
        gain: How much better the arm's best is; positive is better.
        final_gain: How much better its last validation is.
    """

    reached: Mapping[int, float | None]
    speedup: Estimate
    gain: Estimate
    final_gain: Estimate


def score(arm: str, runs: Runs, weights: str, begins_at: int = 0) -> Scored:
    """Chooses a candidate on the selection part and scores it on the reporting part.

    Args:
        weights: ``raw``, ``average``, or ``best`` for the better of both on the selection part.
        begins_at: Steps that count as made before the first one.

    Raises:
        HvcodError: Every candidate diverged.
    """
    if weights == BEST:
        both = [score(arm, runs, each, begins_at) for each in weights_of(runs)]
        return min(both, key=lambda scored: scored.choices[scored.candidate])
    choices = {name: _selected(seeds, weights) for name, seeds in runs.items()}
    candidate = min(choices, key=lambda name: choices[name])
    if not math.isfinite(choices[candidate]):
        raise HvcodError(f"{arm}: a seed of every candidate diverged")
    chosen = dict(sorted(runs[candidate].items()))
    outcomes = {
        seed: _outcome(readings.curves[weights, "reporting"], begins_at)
        for seed, readings in chosen.items()
    }
    sign = next(iter(chosen.values())).sign
    return Scored(arm, weights, candidate, choices, outcomes, chosen, sign)


def all_diverged(runs: Runs) -> bool:
    """Returns True if a seed of every candidate diverged, so that the arm has no score."""
    return all(any(run.diverged for run in seeds.values()) for seeds in runs.values())


def weights_of(runs: Runs) -> list[str]:
    """Returns the weights on which all runs of an arm were validated that did not diverge."""
    whole = [run for seeds in runs.values() for run in seeds.values() if not run.diverged]
    return [each for each in WEIGHTS if all(each in run.weights for run in whole)]


def compare(ours: Scored, theirs: Scored) -> Compared:
    """Compares two arms over the seeds that both have.

    Raises:
        HvcodError: They have no seed in common.
    """
    pairs = {
        seed: (mine, theirs.seeds[seed])
        for seed, mine in ours.seeds.items()
        if seed in theirs.seeds
    }
    if not pairs:
        raise HvcodError(f"{ours.arm} and {theirs.arm} have no seed in common")
    reached = {
        seed: first_reached(mine.curve, other.best.value) for seed, (mine, other) in pairs.items()
    }
    ratios = [
        other.best.step / (reached[seed] or float(mine.curve.steps[-1]))
        for seed, (mine, other) in pairs.items()
    ]
    return Compared(
        reached,
        over_seeds(ratios, [step is None for step in reached.values()]),
        over_seeds([other.best.value - mine.best.value for mine, other in pairs.values()]),
        over_seeds([other.final - mine.final for mine, other in pairs.values()]),
    )


def _selected(seeds: Mapping[int, Readings], weights: str) -> float:
    """Returns the mean over seeds of the best smoothed value on the selection part."""
    if any(readings.diverged for readings in seeds.values()):
        return math.inf
    curves = [readings.curves[weights, "selection"] for readings in seeds.values()]
    return float(np.mean([best(smoothed(curve)).value for curve in curves]))


def _outcome(curve: Curve, begins_at: int) -> Outcome:
    shifted = smoothed(Curve(curve.steps + begins_at, curve.values))
    return Outcome(shifted, best(shifted), float(curve.values[-1]))


def mean_and_range(curves: Sequence[Curve]) -> tuple[Curve, Curve, Curve]:
    """Returns mean, lowest and highest of the curves of several seeds, at the steps all have."""
    steps = curves[0].steps
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve.steps)
    values = np.array([curve.values[np.isin(curve.steps, steps)] for curve in curves])
    lines = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    mean, low, high = (Curve(steps, line) for line in lines)
    return mean, low, high
