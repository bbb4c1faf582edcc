"""The training loop: Algorithm 1 of the paper, as one rank of one group runs it.

The step itself is `Copy.learn`; around it are stopping, validating, saving and recording. Groups
that one process trains take turns, a step each.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from hvcod.codistill.teachers.base import Teacher
from hvcod.errors import DivergedError, GroupFailedError
from hvcod.groups.watchdog import Watchdog
from hvcod.tasks.base import Task
from hvcod.training.copy import Copy
from hvcod.training.preemption import Preemption
from hvcod.training.record.journal import Journal
from hvcod.training.run.directory import Run
from hvcod.training.signals import StopSignals
from hvcod.training.state.best import best_of
from hvcod.training.state.keeper import Keeper
from hvcod.training.state.part import RandomNumbers
from hvcod.training.turns import Training, Turns


class Part(NamedTuple):
    """A group's part of a run: its task, its folder, and the teachers beside the other groups."""

    task: Task
    run: Run
    fixed: Sequence[Teacher] = ()


def train(
    parts: Sequence[Part], device: torch.device, signals: StopSignals
) -> list[dict[str, Any]]:
    """Trains the models of this process's groups, most often one; returns their summaries.

    Collective over each of them; see `steps`.
    """
    turns = Turns([part.run.states for part in parts], device)
    return turns.take([steps(*part, device, signals, turns) for part in parts])


def steps(
    task: Task,
    run: Run,
    fixed: Sequence[Teacher],
    device: torch.device,
    signals: StopSignals,
    turns: Turns,
) -> Training[dict[str, Any]]:
    """Trains the model of a group, from where it stopped, to the end or a preemption.

    Yields before its first step and after each one, for other groups of this process.

    Inside the group the base algorithm makes one model of what all ranks learn. The other groups
    send stale teachers, and `fixed` ones stand beside them: once the burn-in is over, the model is
    pulled towards their mean prediction. Collective.

    Returns:
        The summary, see `Journal.close`.
    """
    options, group = task.options, task.group
    journal = Journal(options, group, run, device)
    keeper = Keeper(options, group, run, journal.sync, turns.settle, best_of(task))
    turns.add(keeper.flush)
    preemption = Preemption(
        group, signals, options.time_limit, lambda: turns.count * keeper.seconds, lambda: run.moved
    )
    copy = Copy(task, run, device, preemption.requested, fixed, turns.ensemble)
    _register(copy, journal, keeper, RandomNumbers(device), task)
    step, reason, diverged = 0, "", False
    watchdog = Watchdog(group, options.silence_limit, lambda: step)
    try:
        step = keeper.restore(journal.begin, turns.begin)
        copy.begin()
        yield from journal.pause()
        while step < options.steps and not (reason := turns.stop(preemption.reason())):
            step += 1
            losses = copy.learn()
            journal.step(step, losses)
            if step % options.validation_interval == 0 or step == options.steps:
                measured = copy.validate()
                journal.validated(step, *measured)
                keeper.validated(step, measured[0])
            keeper.step(step)
            yield from journal.pause()
        ended = "preempted" if reason else "finished"
        keeper.finish(step)
    except GroupFailedError as error:
        ended, reason, diverged = "failed", str(error), isinstance(error, DivergedError)
        if error.save:
            keeper.finish(step)
    # All groups of this process have saved before one publishes.
    yield
    turns.settle()
    copy.close(publish=ended != "failed")
    if not keeper.close() and ended != "failed":
        ended, reason = "failed", f"the state of step {step} could not be saved: {keeper.error}"
    summary = journal.close(copy.optimizer.common_weights(), ended, reason, diverged)
    preemption.close()
    watchdog.close()
    return summary


def _register(
    copy: Copy, journal: Journal, keeper: Keeper, random: RandomNumbers, task: Task
) -> None:
    """Registers what has figures to report, and what a training state holds."""
    options, group = task.options, task.group
    for source in (copy, copy.codistiller, keeper):
        journal.add(source)
    keeper.shared("journal", journal)
    copy.register(keeper)
    keeper.own("losses", journal.losses)
    keeper.own(
        "random",
        random,
        anew=lambda step: torch.manual_seed(group.seed(options.seed, 1 + group.rank, step)),
    )
