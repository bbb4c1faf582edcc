"""The three runs of a branch test, and the options of each."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvcod import combinations
from hvcod.advice.trial.start import Start
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.runs.crew import RunSpec
from hvcod.training.sgd.schedule import learning_rate, weight_decay
from hvcod.values import Numbers

POINTS = 25
"""Validations of each run, at least, unless it makes fewer steps."""

READINGS = 50
"""Readings of the gradient noise scale in the run with one group."""

RATES: Mapping[str, float] = {"none": 1.0, "sqrt": math.sqrt(2), "linear": 2.0}
"""How many times that of B the learning rate of 2B is, see `TrialOptions`."""


@dataclass(frozen=True, kw_only=True)
class Arm(RunSpec):
    """A run of a branch test.

    Attributes:
        states: The state with which each of its groups begins.
        first_taught: The first step at which its groups teach each other; None if it has one group.
    """

    states: list[Path]
    first_taught: int | None = None


def arms_of(
    start: Start, options: TrainOptions, output: Path, ranks: int, in_process: bool
) -> list[Arm]:
    """Returns the runs with one group (B), with twice the batch (2B), and with two groups.

    All of them read all training data from their beginning, in an order that the run has not had,
    and go on at the learning rate and weight decay that the run had reached.

    Args:
        options: Of the run.
        output: Each run gets a folder in it.
        ranks: Ranks per group; 2B has twice as many where each rank is a process of a launch.
        in_process: Whether one process trains both groups.

    Raises:
        UsageError: A branch test cannot be made of this run.
    """
    if problem := _problem(start, options):
        raise UsageError(f"--trial {start.steps}: {problem}")
    common = _common(start, options)
    rate = common.optimizer.learning_rate * RATES[start.rate]
    twice = dataclasses.replace(
        common,
        optimizer=dataclasses.replace(common.optimizer, learning_rate=rate),
        group_batch_size=2 * start.examples,
    )
    b = dataclasses.replace(common, noise_interval=_noise_interval(start, options, ranks))
    return [
        _arm(start, "B", b, output, ranks),
        _arm(start, "2B", twice, output, ranks if in_process else 2 * ranks),
        _arm(start, "two groups", _two_groups(start, common, in_process), output, ranks),
    ]


def _arm(start: Start, name: str, options: TrainOptions, output: Path, ranks: int) -> Arm:
    options = dataclasses.replace(options, run_dir=output / name.replace(" ", "-"))
    try:
        combinations.check(options)
    except UsageError as error:
        raise UsageError(f"--trial {start.steps}, {name}: {error}") from error
    taught = options.codistill.burn_in + 1 if options.groups > 1 else None
    states = start.states(options.groups)
    return Arm(name, options, None, ranks, states=states, first_taught=taught)


def _problem(start: Start, options: TrainOptions) -> str:
    """Returns why there can be no branch test; empty if there can."""
    if options.sgd != "sync":
        return (
            f"the run was trained with --sgd {options.sgd}, whose ranks have weights of their own; "
            "a branch test is of --sgd sync"
        )
    if start.step < options.batch_warmup:
        return (
            f"the state of step {start.step} lies in the --batch-warmup of {options.batch_warmup} "
            "steps: wait for a later one"
        )
    if not _rate(start, options):
        return (
            f"the learning rate of the run has fallen to 0 by step {start.step}: branch from an "
            "earlier state, or from a run with --schedule constant"
        )
    interval = options.codistill.exchange_interval
    if 4 * interval > start.steps:
        return (
            f"groups exchange weights each {interval} steps, and learn from each other after two "
            f"or three of them: make {4 * interval} steps at least"
        )
    return ""


def _noise_interval(start: Start, options: TrainOptions, ranks: int) -> int:
    """Returns the steps between two readings; 0 where a group of one rank has an odd batch."""
    parts = math.lcm(2, options.accumulate) if ranks == 1 else 1
    return 0 if start.examples % parts else max(1, start.steps // READINGS)


def _rate(start: Start, options: TrainOptions) -> float:
    """Returns the learning rate at which the run would go on, or after its warm-up."""
    step = max(start.step, options.optimizer.warmup)
    return learning_rate(step, options.steps, start.examples, options.optimizer)


def _common(start: Start, options: TrainOptions) -> TrainOptions:
    """Returns the options that all runs have, those of B."""
    optimizer = dataclasses.replace(
        options.optimizer,
        schedule="constant",
        scale_batch=None,
        learning_rate=_rate(start, options),
        weight_decay=weight_decay(start.step, options.steps, options.optimizer),
        weight_decay_drops=Numbers(),
    )
    codistill = dataclasses.replace(
        options.codistill,
        exchange="files",
        teacher_ranks=0,
        teacher_sample=None,
        staleness="exact",
        max_staleness=None,
        distill_decay=0.0,
    )
    often = max(1, start.steps // POINTS)
    order = np.random.SeedSequence([options.data_seed, start.step]).generate_state(1)[0]
    return dataclasses.replace(
        options,
        keep_best=None,
        groups=1,
        group_batch_size=start.examples,
        noise_interval=0,
        steps=start.step + start.steps,
        same_data=True,
        order_seed=int(order),
        batch_warmup=0,
        save_interval=max(1, start.steps // 4),
        keep_states=2,
        log_interval=min(options.log_interval, often),
        validation_interval=min(options.validation_interval, often),
        validate_ensemble=False,
        optimizer=optimizer,
        codistill=codistill,
    )


def _two_groups(start: Start, options: TrainOptions, in_process: bool) -> TrainOptions:
    """Returns the options of two groups, which begin to teach each other after a while.

    The first weights that they exchange are those of the first interval that ends after the start.
    Copies of one state first need time to become different: a quarter of the steps.
    """
    interval = options.codistill.exchange_interval
    apart = start.steps // 4 if start.groups == 1 else 0
    known = (start.step // interval + 2) * interval
    burn_in = max(known, start.step + apart)
    if burn_in < options.codistill.burn_in < start.step + start.steps:
        burn_in = options.codistill.burn_in
    codistill = dataclasses.replace(
        options.codistill, exchange="in-process" if in_process else "files", burn_in=burn_in
    )
    return dataclasses.replace(options, groups=2, codistill=codistill)
