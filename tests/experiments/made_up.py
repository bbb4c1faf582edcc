"""A tiny made-up experiment, whose figures are known: halves of the baseline's steps, and so on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from experiments.measuring.made import readings

from hvcod.experiments.base import Arm, Claim, Experiment, Panel, Setting
from hvcod.experiments.measuring.costs import Cost
from hvcod.experiments.measuring.measured import Measured
from hvcod.experiments.measuring.results import Runs
from hvcod.runs.curves import Curve

SEEDS = (1, 2, 3)

ARMS = (
    Arm("baseline", "one group", {"": {}}),
    Arm("regularised", "one group, regularised", {"dropout 0.1": {}, "dropout 0.3": {}}),
    Arm("doubled", "one group, twice the workers", {"": {}}, workers=2),
    Arm("ensemble", "ensemble of two groups", {"": {}}, score="ensemble"),
    Arm("self-taught", "one group, taught by itself", {"": {}}),
    Arm("codistilled", "two groups, codistilled", {"": {}}),
    Arm("codistilled-average", "two groups, averaged teachers", {"": {}}),
)

PACES = {
    "baseline": (1.0, 3.70),
    "regularised": (1.05, 3.66),
    "doubled": (1.75, 3.645),
    "ensemble": (1.3, 3.575),
    "self-taught": (1.15, 3.68),
    "codistilled": (1.5, 3.63),
    "codistilled-average": (1.4, 3.64),
}
"""{arm: (how fast its curve falls, where it ends)}."""

NAMES = [arm.name for arm in ARMS]

EXPERIMENT = Experiment(
    name="made-up",
    title="Two groups reach the best loss of one in fewer steps",
    paper="In figure 2a two groups of 128 workers reach the best error of one group in half of the "
    "steps, and come close to an ensemble of two.",
    setting=Setting("one LSTM layer on made-up text", {}, {}),
    arms=ARMS,
    claims=(
        Claim(
            "Codistillation reaches the baseline's best error in half of the steps.",
            "codistilled",
            "baseline",
            at_least=1.5,
        ),
        Claim("It ends close to the ensemble.", "codistilled", "ensemble", "gain", at_least=-0.02),
        Claim("More workers in one group save no steps.", "doubled", "baseline", at_most=1.2),
    ),
    panels=(Panel(NAMES, title="raw weights"), Panel(NAMES, weights="average")),
    notes=("The curves are made up.",),
)


def falling(pace: float, end: float, seed: int, steps: int = 1800) -> Curve:
    """A curve that falls to `end` and then rises a little, as models that overfit do."""
    at = np.arange(50, steps + 1, 50)
    noise = np.random.default_rng([seed, round(1000 * end)]).normal(0, 0.003, len(at))
    rise = 0.04 * np.maximum(0, pace * at / 1200 - 1) ** 2
    values = end + 2.6 * np.exp(-pace * at / 190) + rise + 0.01 * (seed - 2) + noise
    return Curve(at, np.asarray(values, dtype=np.float64))


def measured(
    experiment: Experiment = EXPERIMENT, seeds: Sequence[int] = SEEDS, sign: int = 1
) -> Measured:
    runs = {arm.name: runs_of(arm, seeds, sign) for arm in experiment.arms}
    costs = {arm.name: {name: cost_of(arm) for name in arm.candidates} for arm in experiment.arms}
    return Measured(experiment, runs, costs)


def runs_of(arm: Arm, seeds: Sequence[int], sign: int) -> Runs:
    pace, end = PACES[arm.name]
    return {
        candidate: {
            seed: readings(
                falling(pace, end + 0.03 * number, seed),
                selection=falling(pace, end + 0.03 * number + 0.01, seed),
                average=falling(pace * 1.1, end + 0.03 * number - 0.02, seed),
                sign=sign,
                between=bytes_of(arm.name),
            )
            for seed in seeds
        }
        for number, candidate in enumerate(arm.candidates)
    }


def cost_of(arm: Arm) -> Cost:
    groups = 2 if arm.name.startswith(("codistilled", "ensemble")) else 1
    return Cost(groups, arm.workers, 4e5 * (arm.workers - 1), groups * arm.workers)


def bytes_of(arm: str) -> float:
    """Bytes a step that a group exchanges with the other one."""
    return 1.6e4 if arm.startswith("codistilled") else 0.0


def with_panels(*panels: Panel) -> Experiment:
    return replace(EXPERIMENT, panels=panels)
