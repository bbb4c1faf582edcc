"""An experiment from beginning to end: its runs, then its page."""

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from hvcod.errors import HvcodError, reason_of
from hvcod.experiments.base import Experiment, Study
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.report import Context, check_pictures, report
from hvcod.experiments.running import studies
from hvcod.experiments.running.complete import complete
from hvcod.experiments.running.plan import command_of, command_of_study, launched
from hvcod.experiments.running.store import FOLDER, ArmRun, identity_of, missing, runs_of
from hvcod.experiments.study import report_study
from hvcod.files.folder import hold, make_folder
from hvcod.runs.crew import Crew
from hvcod.tasks.files import held
from hvcod.training.run.stop_file import watched


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The state of an experiment when its command ends.

    Attributes:
        done: Runs, of all `runs`, with which nothing is left to be done.
        preempted: Whether it was told to stop before its share was done.
        failed: {name of a run that failed: why}.
        summary: The content of ``summary.json``, on the root once all runs are done.
    """

    done: int
    runs: int
    preempted: bool = False
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    summary: dict[str, Any] | None = None


def conduct(
    work: Experiment | Study,
    order: ExperimentOptions,
    crew: Crew,
) -> Outcome:
    """Trains the runs of an experiment that are missing, and reports. Collective over the launch.

    Finished runs are used again, also those of other experiments in the same folder. Once all are
    finished, a command without ``--share`` writes the report into a folder with the name of the
    experiment.

    Raises:
        UsageError: An option does not fit, or there are too few ranks for a run.
        HvcodError: The folder cannot be written, a run was killed, or matplotlib is missing.
    """
    check_pictures()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with watched(order.output, crew.signals) if crew.is_root else nullcontext():
        if isinstance(work, Study):
            return _compared(work, order, crew)
        return _trained(work, order, crew)


def _trained(experiment: Experiment, order: ExperimentOptions, crew: Crew) -> Outcome:
    runs = runs_of(experiment, order)
    crew.batches(runs)
    crew.on_root(lambda: _make(order, experiment.name))
    share = crew.share_of(runs)
    with held(order.output):
        failed = complete(experiment.name, share, crew)
    names = {*crew.on_root(lambda: [run.name for run in missing(runs)])}
    left = [run for run in share if run.name in names and run.name not in failed]
    # One that an unfinished run of another share is to teach is left to the last command.
    ready = [run for run in left if run.teacher is None or run.teacher.name not in names]
    summary = None
    if not names and crew.options.share is None:
        summary = crew.on_root(lambda: _report(experiment, runs, order))
    return Outcome(len(runs) - len(names), len(runs), bool(ready), failed, summary)


def _report(
    experiment: Experiment, runs: Sequence[ArmRun], order: ExperimentOptions
) -> dict[str, Any]:
    commands = [(run.name, command_of(run)) for run in runs]
    ranks = max(run.all_ranks for run in runs)
    context = context_of(experiment, order, commands, ranks)
    return report(experiment, runs, order.output / experiment.name, context)


def context_of(
    work: Experiment | Study,
    order: ExperimentOptions,
    commands: Sequence[tuple[str, str]],
    ranks: int,
) -> Context:
    """Returns the circumstances of an experiment.

    Args:
        commands: The name and the command line of each run.
        ranks: Those of the largest run.
    """
    given = {"scale": order.scale, "seeds": order.seeds, "data": order.data}
    given |= {"output": order.output, "ranks_per_group": order.ranks_per_group}
    known = {key: value for key, value in given.items() if value is not None}
    return Context(
        scale=order.scale,
        command=launched(ranks, "experiment", work.name, options=known),
        commands=commands,
        data=str(order.data or ""),
        digest=identity_of(order.data),
    )


def _compared(study: Study, order: ExperimentOptions, crew: Crew) -> Outcome:
    train = studies.Training(study, order)
    crew.on_root(lambda: _make(order, study.name))
    outcome, summary = train.conduct(crew), None
    if outcome.report is not None:
        commands = [("all retrains", command_of_study(train))]
        context = context_of(study, order, commands, train.ranks)
        folder = order.output / study.name
        summary = report_study(study, outcome.report, train.retrains, folder, context)
    return Outcome(outcome.done, outcome.retrains, outcome.preempted, summary=summary)


def _make(order: ExperimentOptions, name: str) -> None:
    try:
        with hold(order.output):
            for folder in (FOLDER, name):
                make_folder(order.output / folder)
    except OSError as error:
        raise HvcodError(f"cannot write {order.output}: {reason_of(error)}") from error
