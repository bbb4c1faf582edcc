"""The report of an experiment: its page, its figure and its numbers, written into one folder."""

import dataclasses
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hvcod import __version__
from hvcod.cluster.plan.model import ModelSize, of_training
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, reason_of
from hvcod.experiments.base import Arm, Experiment
from hvcod.experiments.measuring.costs import Cost, cost
from hvcod.experiments.measuring.measured import Measured
from hvcod.experiments.measuring.readings import ENSEMBLE, Readings, read
from hvcod.experiments.measuring.results import all_diverged
from hvcod.experiments.measuring.summary import curves_csv, summary
from hvcod.experiments.page.figure import check_pictures, pictures
from hvcod.experiments.page.page import FIGURE, About, blocks, question, to_dict
from hvcod.experiments.running.store import ArmRun
from hvcod.files.folder import hold, make_folder
from hvcod.files.toml import read_tree
from hvcod.files.whole import write_output
from hvcod.pages.document import html, markdown
from hvcod.runs.crew import RunSpec

__all__ = ["Context", "about_of", "check_pictures", "element", "report", "write"]

_PACKAGES = ("torch", "numpy", "scipy")


@dataclass(frozen=True)
class Context:
    """The circumstances of an experiment that its runs do not know.

    Attributes:
        scale: ``laptop``, ``gpu`` or ``paper``.
        command: The command line of the experiment.
        commands: The name and the command line of each run.
        data: The folder of the data; empty for the task's built-in data.
        digest: The digest of the data.
    """

    scale: str
    command: str
    commands: Sequence[tuple[str, str]]
    data: str = ""
    digest: str = ""


def report(
    experiment: Experiment, runs: Sequence[ArmRun], folder: Path, context: Context
) -> dict[str, Any]:
    """Writes the report of an experiment whose runs have ended.

    Writes ``index.md``, ``index.html``, ``figure.png``, ``figure.svg``, ``curves.csv`` and
    ``summary.json``.

    Returns:
        The content of ``summary.json``.

    Raises:
        HvcodError: A run cannot be read or lacks a validation, matplotlib is not installed, or
            the folder cannot be written.
    """
    check_pictures()
    shown = _without_ensembles_apart(experiment, runs)
    readings = {arm.name: _readings(shown, arm, runs) for arm in shown.arms}
    shown = _without_diverged(shown, readings)
    measured = Measured(shown, readings, costs_of(shown.arms, runs))
    seeds = [seed for arm in readings.values() for each in arm.values() for seed in each.values()]
    kinds = (kind for seed in seeds for kind in seed.processors)
    about = about_of(context, kinds, runs, _first(runs))
    result = summary(measured) | to_dict(about)
    drawn = pictures(measured)
    page = blocks(measured, about, element(drawn["svg"]))
    files = {
        **{f"{FIGURE}.{ending}": content for ending, content in drawn.items()},
        "curves.csv": curves_csv(measured).encode(),
        "index.md": markdown(page).encode(),
        "index.html": html(question(experiment), page).encode(),
        "summary.json": json.dumps(result, indent=1).encode() + b"\n",
    }
    write(folder, files)
    return result


def _readings(
    experiment: Experiment, arm: Arm, runs: Sequence[ArmRun]
) -> dict[str, dict[int, Readings]]:
    """Returns {candidate: {seed: the readings of its run}} of an arm."""
    readings: dict[str, dict[int, Readings]] = {name: {} for name in arm.candidates}
    for run in runs:
        if run.arm == arm.name:
            found = read(run.run_dir, experiment.metric, arm.score, run.group, run.options.steps)
            readings[run.candidate][run.seed] = found
    return readings


def _without_ensembles_apart(experiment: Experiment, runs: Sequence[ArmRun]) -> Experiment:
    """Returns the experiment without ensembles whose groups had processes of their own.

    Only a process that trains all groups scores the mean of their predictions.
    """
    apart = {run.arm for run in runs if not run.options.codistill.in_process}
    out = [arm.name for arm in experiment.arms if arm.score == ENSEMBLE and arm.name in apart]
    return _without(experiment, out, "not scored, as its groups had processes of their own")


def _without_diverged(
    experiment: Experiment, readings: Mapping[str, Mapping[str, Mapping[int, Readings]]]
) -> Experiment:
    """Returns the experiment without arms of which a seed of every candidate diverged."""
    out = [arm.name for arm in experiment.arms if all_diverged(readings[arm.name])]
    if experiment.baseline in out:
        raise HvcodError(f"{experiment.name}: the baseline diverged, so there is nothing to reach")
    return _without(experiment, out, "left out, as a seed of every candidate diverged")


def _without(experiment: Experiment, out: Sequence[str], reason: str) -> Experiment:
    """Returns an experiment without some arms, and a note that gives the reason for each."""
    labels = {arm.name: arm.label for arm in experiment.arms}
    return dataclasses.replace(
        experiment,
        arms=[arm for arm in experiment.arms if arm.name not in out],
        claims=[each for each in experiment.claims if not {*out} & {each.arm, each.against}],
        panels=[
            dataclasses.replace(panel, arms=[name for name in panel.arms if name not in out])
            for panel in experiment.panels
        ],
        notes=[*experiment.notes, *(f"“{labels[name]}”: {reason}." for name in out)],
    )


def costs_of(arms: Sequence[Arm], runs: Sequence[ArmRun]) -> dict[str, dict[str, Cost]]:
    """Returns {arm: {candidate: the cost of a step}}; builds each model once to know its size.

    The workers of a group are its ranks, or if it has one only, those that it stands for.
    """
    sizes: dict[Any, ModelSize] = {}
    workers = {arm.name: arm.workers for arm in arms}
    costs: dict[str, dict[str, Cost]] = {name: {} for name in workers}
    for run in runs:
        if run.arm in costs and run.candidate not in costs[run.arm]:
            model = _model_of(run.options)
            sizes[model] = sizes.get(model) or of_training(run.options)
            each = run.ranks if run.ranks and run.ranks > 1 else workers[run.arm]
            costs[run.arm][run.candidate] = cost(run.options, sizes[model], each)
    return costs


def _model_of(options: TrainOptions) -> Any:
    """Returns the options that decide the size of a model."""
    return options.task, options.data, options.model, options.compress, options.optimizer


def _first(runs: Sequence[ArmRun]) -> list[str]:
    """Returns the names of the runs with the first seed."""
    seed = min(run.seed for run in runs)
    return [run.name for run in runs if run.seed == seed]


def about_of(
    context: Context, processors: Iterable[str], runs: Sequence[RunSpec], shown: Sequence[str]
) -> About:
    """Returns the circumstances of runs, today.

    Args:
        processors: The kinds of processors on which they were trained.
        shown: The names of those whose commands the page shows.

    Raises:
        HvcodError: The configuration of a run cannot be read.
    """
    versions = {"hvcod": __version__, "Python": platform.python_version()}
    return About(
        context.scale,
        context.command,
        context.commands,
        shown,
        context.data or "the task's built-in data",
        context.digest,
        versions | {name: version(name) for name in _PACKAGES},
        sorted({*processors}),
        sorted({*map(_version, runs)}),
        datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _version(run: RunSpec) -> str:
    """Returns the version of hvcod that began a run: a later one uses finished runs again."""
    path = run.run_dir / "config.toml"
    try:
        about = read_tree(path).get("run")
    except (OSError, ValueError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    return str(about.get("hvcod")) if isinstance(about, dict) else "of an unknown version"


def element(svg: bytes) -> str:
    """Returns the SVG element of a file, for a page of HTML."""
    text = svg.decode()
    return text[text.index("<svg") :]


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files, the summary last: it tells that the report is whole.

    Raises:
        HvcodError: The folder cannot be written.
    """
    try:
        with hold(folder):
            make_folder(folder)
            for name, content in files.items():
                write_output(folder / name, content)
    except OSError as error:
        raise HvcodError(f"cannot write {folder}: {reason_of(error)}") from error
