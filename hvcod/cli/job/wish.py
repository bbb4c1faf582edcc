"""The command line of ``hvcod job render`` and ``submit``: a job, and the command that it runs."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hvcod import config
from hvcod.cli.options import dataclass_options, layer
from hvcod.cluster.jobs import profiles
from hvcod.cluster.jobs.options import JobOptions, present_scheduler
from hvcod.cluster.jobs.plan import Wish, scripts
from hvcod.cluster.jobs.script import Script
from hvcod.errors import UsageError

FOLDERS = {"train": "run_dir", "churn run": "output"}
"""Which option of a command names the folder of its jobs, too."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """Jobs that could be submitted.

    Attributes:
        scripts: In an order in which they can be submitted.
        folder: Where logs, scripts and the record of the jobs go.
        wish: What they are for.
        options: What each job asks for.
        parameters: The options of the command that runs, as click parsed them.
    """

    scripts: list[Script]
    folder: Path
    wish: Wish
    options: JobOptions
    parameters: Mapping[str, Any]


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds all that says what a job is like and what it runs, as `planned` takes it."""
    known = ", ".join(profiles.names())
    decorators = (
        click.argument("words", nargs=-1, required=True, metavar="-- COMMAND..."),
        click.option(
            "--profile",
            metavar="FILE|NAME",
            help=f"Options from a TOML file, or from an example that comes with hvcod: {known}.",
        ),
        click.option(
            "--folder",
            type=click.Path(path_type=Path),
            help="Where scripts, logs and the record of the jobs go; default: the run directory.",
        ),
        click.option(
            "--prepare",
            metavar="WORDS",
            help="What `hvcod data` is to do in a job before the training.",
        ),
        click.option(
            "--evaluate", is_flag=True, help="A job after the training evaluates what came of it."
        ),
        dataclass_options(JobOptions),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def planned(
    words: Sequence[str],
    profile: str | None,
    folder: Path | None,
    prepare: str | None,
    evaluate: bool,
    flags: Mapping[str, Any],
) -> Planned:
    """The jobs for a command line.

    Raises:
        UsageError: Something is wrong or impossible.
    """
    options = _options(profile, flags)
    name, parameters = parsed(words)
    preparation = tuple(shlex.split(prepare or ""))
    if preparation:
        parsed(["data", *preparation])
    if name == "train":
        options = _agree_on_groups(options, parameters)
    if evaluate and name != "train":
        raise UsageError("--evaluate goes with `-- train ...` only")
    run = parameters.get(FOLDERS.get(name, ""))
    folder = folder or run
    if folder is None or (name == "train" and run is None):
        raise UsageError(
            f"{name}: say where the jobs belong: "
            + (
                "--run-dir, which a job that is started again needs, too"
                if name == "train"
                else "--folder, for logs and the record of the jobs"
            )
        )
    wish = Wish(tuple(words), folder, preparation, run if evaluate else None)
    return Planned(scripts(wish, options), folder, wish, options, parameters)


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The name of a command of hvcod and its options, from its command line.

    Raises:
        click.UsageError: It is wrong.
    """
    from hvcod.cli.main import cli

    name, rest = "", list(words)
    found: click.Command = cli
    context = click.Context(cli, info_name="hvcod")
    while isinstance(found, click.Group):
        found, step, rest = _next(found, context, rest)
        name = f"{name} {step}".strip()
        context = (
            found.make_context(step, list(rest), parent=context)
            if not isinstance(found, click.Group)
            else click.Context(found, info_name=step, parent=context)
        )
    return name, context.params


def _next(
    group: click.Group, context: click.Context, words: list[str]
) -> tuple[click.Command, str, list[str]]:
    step, command, rest = group.resolve_command(context, words or [""])
    if command is None or step is None:
        raise UsageError(f"{' '.join(words)}: no command of hvcod")
    return command, step, rest


def _options(profile: str | None, flags: Mapping[str, Any]) -> JobOptions:
    layers = [profiles.read(profile)] if profile else []
    options: JobOptions = config.resolve(JobOptions, [*layers, layer(JobOptions, flags)])
    scheduler = options.scheduler or present_scheduler()
    if scheduler is None:
        raise UsageError("neither sbatch nor qsub is here: say --scheduler slurm or pbs")
    environment = options.environment or _own_environment()
    return dataclasses.replace(options, scheduler=scheduler, environment=environment)


def _own_environment() -> str:
    if not Path(sys.prefix, "bin/hvcod").exists():
        raise UsageError(
            f"{sys.prefix}/bin holds no hvcod that a job could start: say --environment, the "
            "folder whose bin/ holds it"
        )
    return sys.prefix


def _agree_on_groups(options: JobOptions, parameters: Mapping[str, Any]) -> JobOptions:
    if parameters["group"] is not None:
        raise UsageError("--group: --job-per-group makes a job for each group, and numbers them")
    told = parameters["groups"]
    if told is not None and options.groups not in (1, told):
        raise UsageError(f"--groups {options.groups} before --, but {told} behind it")
    return dataclasses.replace(options, groups=told or options.groups)
