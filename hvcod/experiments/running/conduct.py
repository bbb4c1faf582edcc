"""An experiment from beginning to end: its runs, then its page."""

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hvcod.errors import HvcodError, reason_of
from hvcod.experiments.base import Experiment
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.report import Context, check_pictures, report
from hvcod.experiments.running.complete import complete
from hvcod.experiments.running.plan import command_of
from hvcod.experiments.running.store import FOLDER, ArmRun, identity_of, missing
from hvcod.files.folder import hold, make_folder
from hvcod.runs.crew import Crew
from hvcod.tasks.files import held


@dataclass(frozen=True)
class Outcome:
    """The state of an experiment when its command ends.

    Attributes:
        finished: Runs, of all `runs`, that are finished.
        preempted: Whether it was told to stop before its share was done.
        failed: {name of a run that failed: why}.
        summary: The content of ``summary.json``, once all runs are finished.
    """

    finished: int
    runs: int
    preempted: bool
    failed: dict[str, str]
    summary: dict[str, Any] | None = None


def conduct(
    experiment: Experiment, runs: Sequence[ArmRun], order: ExperimentOptions, crew: Crew
) -> Outcome:
    """Trains the runs of an experiment that are missing. Collective over the launch.

    Finished ones are used again, also those of other experiments in the same folder. Once all are
    finished, a command without ``--share`` writes the report into a folder with the name of the
    experiment.

    Raises:
        UsageError: There are too few ranks for a run.
        HvcodError: The folder cannot be written, a run was killed, or matplotlib is missing.
    """
    check_pictures()
    crew.batches(runs)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    crew.on_root(lambda: _make(order))
    share = crew.share_of(runs)
    with held(order.output):
        failed = complete(experiment.name, share, crew)
    names = crew.on_root(lambda: [run.name for run in missing(runs)])
    left = [run for run in share if run.name in names and run.name not in failed]
    waits = [run for run in left if run.teacher and run.teacher.name in {*names, *failed}]
    summary = None
    if not names and crew.options.share is None:
        summary = crew.on_root(lambda: _report(experiment, runs, order))
    return Outcome(len(runs) - len(names), len(runs), len(left) > len(waits), failed, summary)


def _report(
    experiment: Experiment, runs: Sequence[ArmRun], order: ExperimentOptions
) -> dict[str, Any]:
    words = ["hvcod", "experiment", experiment.name, "--scale", order.scale]
    words += ["--seeds", str(order.seeds), *(["--data", str(order.data)] if order.data else [])]
    context = Context(
        scale=order.scale,
        command=shlex.join([*words, "--output", str(order.output)]),
        commands=[(run.name, command_of(run)) for run in runs],
        data=str(order.data or ""),
        digest=identity_of(order.data),
    )
    return report(experiment, runs, order.output / experiment.name, context)


def _make(order: ExperimentOptions) -> None:
    try:
        with hold(order.output):
            make_folder(order.output / FOLDER)
    except OSError as error:
        raise HvcodError(f"cannot write {order.output}: {reason_of(error)}") from error
