"""All that was measured in an experiment: every arm on raw and on averaged weights, and the claims.

A figure of an arm is computed once, when it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hvcod.experiments.base import Arm, Claim, Experiment
from hvcod.experiments.measuring.costs import Cost
from hvcod.experiments.measuring.estimates import Estimate, over_seeds
from hvcod.experiments.measuring.readings import at
from hvcod.experiments.measuring.results import (
    Compared,
    Runs,
    Scored,
    compare,
    score,
    weights_of,
)
from hvcod.experiments.measuring.verdicts import Evidence, Verdict, judge

UNITS = {"loss": "nats"}
"""The unit of each metric; other metrics are shares."""

MEASURES = {"speedup": "speedup", "gain": "gain", "final gain": "final_gain"}
"""{measure of a claim: the field of `Compared` that holds it}."""


@dataclass(frozen=True)
class Row:
    """An arm on raw or on averaged weights, against the baseline on raw weights and on the same.

    Attributes:
        against_raw: The comparison with the baseline on raw weights.
        against_same: The comparison with the baseline on the same weights; None if it has none.
        step_s: Seconds of a step of one group; None if unknown.
        level_s: {seed: seconds of the process until the raw baseline's best}; None: not reached.
        between: Bytes a step that a group wrote and read for teachers; None if unknown.
        cost: What a step of its runs takes otherwise.
    """

    arm: Arm
    scored: Scored
    against_raw: Compared
    against_same: Compared | None
    step_s: Estimate | None
    level_s: Mapping[int, float | None]
    between: float | None
    cost: Cost


class Measured:
    """All measures of an experiment."""

    def __init__(
        self,
        experiment: Experiment,
        runs: Mapping[str, Runs],
        costs: Mapping[str, Mapping[str, Cost]],
    ) -> None:
        """
        Args:
            runs: {arm: {candidate: {seed: the readings of its run}}}.
            costs: {arm: {candidate: what a step of its runs takes}}.
        """
        self.experiment, self.runs = experiment, runs
        self.arms = {arm.name: arm for arm in experiment.arms}
        self._costs = costs
        self._scored: dict[tuple[str, str], Scored] = {}

    @property
    def unit(self) -> str:
        """The unit of the metric; empty for a share."""
        return UNITS.get(self.experiment.metric, "")

    @property
    def judges_last(self) -> bool:
        """True if a claim is about the last validation."""
        return any(claim.measure == "final gain" for claim in self.experiment.claims)

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs, ascending."""
        arms = self.runs.values()
        return sorted({seed for runs in arms for seeds in runs.values() for seed in seeds})

    def scored(self, arm: str, weights: str) -> Scored:
        """Returns an arm on ``raw`` or ``average`` weights, or the ``best`` of both."""
        if (arm, weights) not in self._scored:
            begins_at = self.arms[arm].begins_at
            self._scored[arm, weights] = score(arm, self.runs[arm], weights, begins_at)
        return self._scored[arm, weights]

    def weights(self, arm: str) -> list[str]:
        """Returns the weights that the runs of an arm were validated on."""
        return weights_of(self.runs[arm])

    def cost(self, scored: Scored) -> Cost:
        """Returns what a step of an arm's chosen candidate takes."""
        return self._costs[scored.arm][scored.candidate]

    @cached_property
    def rows(self) -> list[Row]:
        """Every arm on each of its weights, in the order of the experiment."""
        arms = self.experiment.arms
        return [self._row(arm, weights) for arm in arms for weights in self.weights(arm.name)]

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on the claims of the experiment, in its order."""
        return [self._judge(claim) for claim in self.experiment.claims]

    def _row(self, arm: Arm, weights: str) -> Row:
        ours, name = self.scored(arm.name, weights), self.experiment.baseline
        raw = compare(ours, self.scored(name, "raw"))
        has_same = weights in self.weights(name)
        return Row(
            arm,
            ours,
            raw,
            compare(ours, self.scored(name, weights)) if has_same else None,
            _step_seconds(ours),
            {seed: _seconds(ours, seed, arm, step) for seed, step in raw.reached.items()},
            _between(ours),
            self.cost(ours),
        )

    def _judge(self, claim: Claim) -> Verdict:
        ours = self.scored(claim.arm, claim.weights)
        theirs = self.scored(claim.against, claim.against_weights or claim.weights)
        estimate = getattr(compare(ours, theirs), MEASURES[claim.measure])
        count = len(estimate.values)
        sample = "1 seed" if count == 1 else f"{count} seeds"
        evidence = Evidence(estimate.mean, estimate.interval, sample, estimate.missed)
        names = {name: f"“{arm.label}”" for name, arm in self.arms.items()}
        return judge(claim, evidence, names, self.unit)


def _step_seconds(scored: Scored) -> Estimate | None:
    known = [reading.step_s for reading in scored.readings.values() if reading.step_s is not None]
    return over_seeds(known) if known else None


def _between(scored: Scored) -> float | None:
    """Returns the bytes a step between groups, by the mean over seeds."""
    curves = [run.exchanged for run in scored.readings.values()]
    if not all(len(curve.steps) for curve in curves):
        return None
    return float(np.mean([curve.values[-1] / curve.steps[-1] for curve in curves]))


def _seconds(scored: Scored, seed: int, arm: Arm, step: float | None) -> float | None:
    """Returns the seconds of the run of a seed until a step, without those of its teachers."""
    return None if step is None else at(scored.readings[seed].seconds, step - arm.begins_at)
