"""``hvcod train``."""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hvcod import config
from hvcod.cli.options import dataclass_options, json_option, layer
from hvcod.cli.tables import columns
from hvcod.config import TrainOptions
from hvcod.errors import UsageError

EXAMPLES = """\b
Examples:
  laptop   mpirun -np 4 hvcod train --groups 2 --task commoncrawl --preset laptop
  cluster  srun --mpi=pmix -N 32 --ntasks-per-node 8 hvcod train --groups 2 --task commoncrawl \\
             --data /scratch/cc --preset paper --run-dir /scratch/runs/cc
"""


def training_options(without: Collection[str] = ()) -> Callable[..., Any]:
    """Adds the options of a training, ``--config`` and ``--set``, as `resolve` takes them.

    Args:
        without: Keys that a command decides by itself.
    """
    file = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="Options from a TOML file."
    )
    assignments = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any option by its key, such as model.hidden=512; may be repeated.",
    )
    flags = dataclass_options(TrainOptions, without)
    return lambda command: flags(file(assignments(command)))


@click.command(epilog=EXAMPLES)
@training_options()
@json_option
def command(
    config_file: Path | None, assignments: Sequence[str], as_json: bool, **flags: Any
) -> None:
    """Train a model in groups of ranks that teach each other.

    Start it with mpirun, srun or mpiexec. Each group trains a copy by synchronous SGD and publishes
    its weights; after the burn-in it is also pulled towards what the other groups predict.

    A preset replaces the defaults shown here; a file, then flags, replace the preset. All that ran
    is written to config.toml in the run directory.

    The same command on a run directory goes on where the run stopped. On SIGUSR1, SIGUSR2, SIGTERM
    or close to its --time-limit a run saves its state and exits with 75: submit it again.
    """
    from hvcod.training.signals import StopSignals

    # Before anything heavy is imported, which takes a while on a large machine.
    signals = StopSignals()
    from hvcod.groups.environment import launch_rank
    from hvcod.training.launch import Team, exit_code, launch
    from hvcod.training.record.lines import finite

    options = resolve(config_file, assignments, flags)
    summaries = launch(options, Team.of_all(signals))
    if launch_rank() == 0:
        # A full disk under the log changes nothing of what the launch has done.
        with contextlib.suppress(OSError):
            click.echo(json.dumps(finite(summaries)) if as_json else table(summaries))
            for message in endings(summaries):
                click.echo(f"hvcod: {message}", err=True)
    click.get_current_context().exit(exit_code(summaries))


def resolve(
    config_file: Path | None, assignments: Sequence[str], flags: dict[str, Any]
) -> TrainOptions:
    """The options of a run: defaults < preset < ``--config`` < ``--set`` and flags.

    Raises:
        UsageError: An option is unknown or does not fit, or there is no such task or preset.
    """
    from hvcod.tasks import load_task

    of_file = config.read_toml(config_file) if config_file else {}
    given = dict(config.parse_assignment(text) for text in assignments)
    given |= layer(TrainOptions, flags)
    chosen = of_file | given
    task = load_task(str(chosen.get("task", TrainOptions.task)))
    preset = str(chosen.get("preset", TrainOptions.preset))
    if preset not in task.presets:
        raise UsageError(f"--preset {preset}: choose one of {', '.join(task.presets)}")
    try:
        config.resolve(TrainOptions, [of_file], task.Options)
    except UsageError as error:
        raise UsageError(f"{config_file}: {error}") from error
    layers: list[Mapping[str, Any]] = [task.presets[preset]]
    for each in (of_file, given):
        # A rank's batch counts rather than one of the group that was said before it.
        layers += [{"group_batch_size": None}] if "batch_size" in each else []
        layers.append(each)
    options: TrainOptions = config.resolve(TrainOptions, layers, task.Options)
    return options


def endings(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each group that did not come to its end: why, and what to do."""
    lines = []
    for each in summaries:
        if each["ended"] == "failed":
            lines.append(f"group {each['group']} failed: {each['reason']}")
        if each["ended"] == "preempted":
            lines.append(
                f"group {each['group']} stopped for {each['reason']} and saved step "
                f"{each['steps']}; the same command with --run-dir {each['run_dir']} goes on"
            )
    return lines


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """The summaries of the groups as a table, with what a model without context would reach."""
    metrics = [name for name in summaries[0]["metrics"] if name != "loss"]
    head = ["group", "validation loss", *(f"validation {name}" for name in metrics)]
    head += ["teacher exchanges", "mean staleness", "s/step", "run directory"]
    rows = [
        [
            str(each["group"]),
            *(_figure(each["metrics"].get(name), ".4f") for name in ["loss", *metrics]),
            str(each["exchanges"]),
            _figure(each["mean_staleness"], ".1f", " steps"),
            f"{each['step_s']:.3f}",
            _short(Path(each["run_dir"])),
        ]
        for each in summaries
    ]
    references = [
        f"{name.replace('_', ' ')}: {value:.4f}"
        for name, value in summaries[0]["reference"].items()
    ]
    return "\n".join([columns([head, *rows]), *references])


def _figure(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
