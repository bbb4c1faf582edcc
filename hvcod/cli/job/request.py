"""The command line of ``hvcod job render`` and ``submit``: job options, and the command to run."""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hvcod import config
from hvcod.cli.completing import command_line, names_of
from hvcod.cli.options import dataclass_options, layer
from hvcod.cli.sectioned import option_of
from hvcod.cluster.jobs.options import (
    JobOptions,
    check_text,
    present_scheduler,
    read_profile,
    site_names,
)
from hvcod.cluster.jobs.request import Request, scripts
from hvcod.cluster.jobs.script import Script
from hvcod.errors import UsageError
from hvcod.experiments.options import ExperimentOptions
from hvcod.files.toml import read_layer
from hvcod.presets import trains_in_one_process
from hvcod.registry import SCHEDULERS
from hvcod.sections import Section


@dataclasses.dataclass(frozen=True)
class Plan:
    """Jobs that are ready to be submitted.

    Attributes:
        scripts: In an order in which they can be submitted.
        parameters: The options of the command that runs, as click parsed them.
        run: The run directory that the command trains; None if it trains nothing.
    """

    scripts: list[Script]
    request: Request
    options: JobOptions
    parameters: Mapping[str, Any]
    run: Path | None


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds all parameters of `plan_of` to a command."""
    known = ", ".join(site_names())
    option = functools.partial(option_of, Section.JOB)
    decorators = (
        click.argument(
            "words",
            nargs=-1,
            required=True,
            metavar="-- COMMAND...",
            shell_complete=command_line,
        ),
        option(
            "--profile",
            metavar="FILE|NAME",
            shell_complete=names_of(site_names()),
            help=f"Options from a TOML file, or from an example that comes with hvcod: {known}.",
        ),
        option(
            "--folder",
            type=click.Path(path_type=Path),
            help="Folder of scripts, logs and the record of the jobs; default: the run directory.",
        ),
        option(
            "--prepare",
            metavar="WORDS",
            help="Arguments of `hvcod data` for a job before the training.",
        ),
        option("--evaluate", is_flag=True, help="Add a job that evaluates the trained run."),
        dataclass_options(JobOptions),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def plan_of(
    words: Sequence[str],
    profile: str | None,
    folder: Path | None,
    prepare: str | None,
    evaluate: bool,
    **flags: Any,
) -> Plan:
    """Returns the jobs for a command line.

    Raises:
        UsageError: Something is wrong or impossible.
    """
    options = _options(profile, flags)
    name, parameters = parsed(words)
    check_text("--prepare", prepare or "")
    preparation = tuple(shlex.split(prepare or ""))
    if preparation:
        parsed(["data", *preparation])
    in_process = name == "train" and _is_in_process(parameters)
    if name == "train" and not in_process:
        options = _agree_on_groups(options, parameters)
    if evaluate and name != "train":
        raise UsageError("--evaluate goes with `-- train ...` only")
    run = _run_of(name, parameters)
    folder = folder or run
    if folder is None:
        raise UsageError(f"{name}: add --folder, for logs and the record of the jobs")
    evaluated = run if evaluate else None
    request = Request(tuple(words), folder, preparation, evaluated, in_process)
    return Plan(scripts(request, options), request, options, parameters, run)


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Parses a command line of hvcod into the name of the command and its options.

    Raises:
        click.UsageError: The command line is wrong.
    """
    from hvcod.cli.commands import cli

    names: list[str] = []
    rest = list(words)
    command: click.Command | None = cli
    context = click.Context(cli, info_name="hvcod")
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest or [""])
        names.append(str(name))
        parent, context = context, click.Context(command or cli, info_name=name, parent=context)
    if command is None:
        raise UsageError(f"hvcod has no command {' '.join(names)}")
    return " ".join(names), command.make_context(names[-1], rest, parent=parent).params


def _options(profile: str | None, flags: Mapping[str, Any]) -> JobOptions:
    layers = [read_profile(profile)] if profile else []
    options: JobOptions = config.resolve(JobOptions, [*layers, layer(JobOptions, flags)])
    scheduler = options.scheduler or present_scheduler()
    if scheduler is None:
        known = ", ".join(SCHEDULERS)
        raise UsageError(f"no scheduler's programs are on PATH: add --scheduler, one of {known}")
    environment = options.environment or sys.prefix
    if not options.environment and not Path(sys.prefix, "bin/hvcod").exists():
        raise UsageError(
            f"{sys.prefix}/bin holds no hvcod that a job could start: add --environment, the "
            "folder whose bin/ holds it"
        )
    if not options.environment and "$" in sys.prefix:
        raise UsageError(f"{sys.prefix}: add --environment, with $NAME for variables only")
    return dataclasses.replace(options, scheduler=scheduler, environment=environment)


def _run_of(name: str, parameters: Mapping[str, Any]) -> Path | None:
    """Returns the folder that a command trains in; None if it trains nothing."""
    if name == "train" and parameters["run_dir"] is None:
        raise UsageError("train: add --run-dir, without which a job could not resume")
    if name == "experiment" and (parameters["name"] is None or parameters["only_plan"]):
        raise UsageError("experiment: name one, without --plan: a job trains it")
    key = {"train": "run_dir", "churn run": "output", "experiment": "output"}.get(name)
    default = ExperimentOptions.output if name == "experiment" else None
    return parameters[key] or default if key else None


def _is_in_process(parameters: Mapping[str, Any]) -> bool:
    """Returns whether one process trains all groups of ``hvcod train`` with these options."""
    file = parameters["config_file"]
    layers = [
        read_layer(file) if file is not None and file.exists() else {},
        dict(config.parse_assignment(text) for text in parameters["assignments"]),
        {"codistill.exchange": parameters["exchange"]},
    ]
    preset = parameters["preset"] or next(
        (each["preset"] for each in reversed(layers) if "preset" in each), None
    )
    return trains_in_one_process(preset, layers)


def _agree_on_groups(options: JobOptions, parameters: Mapping[str, Any]) -> JobOptions:
    if parameters["group"] is not None:
        raise UsageError("--group: --job-per-group makes a job for each group, and numbers them")
    groups = parameters["groups"]
    if groups is not None and options.groups not in (1, groups):
        raise UsageError(f"--groups {options.groups} before --, but {groups} behind it")
    return dataclasses.replace(options, groups=groups or options.groups)
