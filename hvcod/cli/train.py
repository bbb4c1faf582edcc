"""``hvcod train``."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod import effects
from hvcod.advice.options import AdviceOptions
from hvcod.cli.advise import shown
from hvcod.cli.options import json_option, layer, training_options
from hvcod.cli.sectioned import SectionedCommand
from hvcod.cli.tables import columns
from hvcod.config import TrainOptions, parse_assignment
from hvcod.errors import HvcodError, OutputError, UsageError
from hvcod.terminal import one_line, show
from hvcod.units import figure

if TYPE_CHECKING:
    from hvcod.advice.advise import Advice

EXAMPLES = """\b
Examples:
  laptop   mpirun -np 4 hvcod train --groups 2 --task commoncrawl --preset laptop
  no MPI   hvcod train --groups 2 --exchange in-process --task criteo
  cluster  srun --mpi=pmix -N 32 --ntasks-per-node 8 hvcod train --groups 2 --task commoncrawl \\
             --data /scratch/cc --preset paper --run-dir /scratch/runs/cc
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@training_options()
@json_option
def command(
    config_file: Path | None, assignments: Sequence[str], as_json: bool, **flags: Any
) -> None:
    """Train a model in groups of ranks that teach each other.

    Start it with mpirun, srun or mpiexec, or without any of them as a single process. Each group
    trains a copy of the model by synchronous SGD and publishes its weights. After the burn-in a
    further term of the loss pulls each copy towards the predictions of the other groups.

    The preset replaces the defaults shown here, --config the preset, and flags and --set replace
    both. The run directory gets a config.toml with all options of the run.

    The same command on the same run directory continues a run. On SIGUSR1, SIGUSR2, SIGTERM or
    shortly before its --time-limit a run saves its state and exits with 75: submit it again.
    """
    from hvcod.training.signals import StopSignals

    # Before anything heavy is imported, which takes a while on a large machine.
    signals = StopSignals()
    from hvcod.groups.abort import leave
    from hvcod.groups.environment import launch_rank
    from hvcod.runs.layers import resolve
    from hvcod.training.launch import Team, exit_code, launch

    given = layer(TrainOptions, flags)
    options = resolve(config_file, assignments, given)
    if launch_rank() == 0:
        named = {**dict(map(parse_assignment, assignments)), **given}
        for note in effects.notes(options, named):
            show(f"hvcod: {note}", err=True)
    summaries = launch(options, Team.of_all(signals))
    is_root = launch_rank() == 0
    # The advice may fail on another rank, which ends this one. JSON is one document with it.
    if is_root and not as_json:
        give_out(summaries, as_json)
    try:
        advice = advised(options, summaries)
        if advice is not None and as_json:
            summaries[0]["advice"] = json.loads(shown(advice, as_json))
    finally:
        if is_root and as_json:
            give_out(summaries, as_json)
    if is_root and advice is not None and not as_json:
        with contextlib.suppress(OutputError):
            show(f"\n{shown(advice, as_json)}")
    if is_root and any(summary.get("silent_teacher_ranks") for summary in summaries):
        leave(exit_code(summaries))
    click.get_current_context().exit(exit_code(summaries))


def give_out(summaries: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Shows the summaries of the groups, and those that did not finish on standard error."""
    from hvcod.training.record.lines import finite

    # If the disk of the log is full, the launch has still done its work.
    with contextlib.suppress(OutputError):
        show(json.dumps(finite(summaries)) if as_json else table(summaries))
        for message in endings(summaries):
            show(f"hvcod: {one_line(message)}", err=True)


def advised(options: TrainOptions, summaries: Sequence[dict[str, Any]]) -> "Advice | None":
    """Returns advice on a run that is finished, if it is asked for. Collective over the launch.

    None where ranks that only teach are silent: all that is collective would wait for them. Also
    None, with a line that says why, where no rank can advise.

    Raises:
        HvcodError: Something failed, perhaps on this rank alone, so that the others wait for it.
    """
    ends = [each["ended"] == "finished" for each in summaries]
    silent = any(each.get("silent_teacher_ranks") for each in summaries)
    if options.advise is None or silent or not all(ends):
        return None
    from hvcod.advice.advise import advise
    from hvcod.groups.split import split
    from hvcod.groups.world import world

    everyone, first = split(world()), summaries[0]
    wanted = AdviceOptions(first["group"], readings=options.advise, device=options.device)
    try:
        return advise(Path(first["run_dir"]), wanted, everyone, options.task)
    except UsageError as error:  # alike on every rank, and the training has done its work
        if everyone.is_root:
            show(f"hvcod: no advice: {one_line(str(error))}", err=True)
        return None
    except HvcodError as error:
        raise type(error)(f"the training is finished, but there is no advice: {error}") from error


def endings(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each group that failed or was preempted: why, and what to do."""
    lines = []
    for summary in summaries:
        if summary["ended"] == "failed":
            lines.append(f"group {summary['group']} failed: {summary['reason']}")
        if summary["ended"] == "preempted":
            lines.append(
                f"group {summary['group']} stopped for {summary['reason']} and saved step "
                f"{summary['steps']}; the same command with --run-dir "
                f"{summary['run_dir']} continues"
            )
    return lines


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """Returns the summaries of the groups as a table, followed by the task's reference figures."""
    everyones = dict.fromkeys(name for summary in summaries for name in summary["metrics"])
    metrics = [name for name in everyones if name != "loss"]
    head = ["group", "validation loss", *(f"validation {name}" for name in metrics)]
    head += ["teacher exchanges", "mean staleness", "s/step", "run directory"]
    rows = [
        [
            str(summary["group"]),
            *(figure(summary["metrics"].get(name), ".4f") for name in ["loss", *metrics]),
            str(summary["exchanges"]),
            _age(summary["mean_staleness"]),
            f"{summary['step_s']:.3f}",
            _short(Path(summary["run_dir"])),
        ]
        for summary in summaries
    ]
    references = [
        f"{name.replace('_', ' ')}: {value:.4f}"
        for name, value in summaries[0]["reference"].items()
    ]
    best = [
        f"best {each['best']['metric']} of group {each['group']}: {each['best']['value']:.4f} at "
        f"step {each['best']['step']}, kept in {_short(Path(each['best']['path']))}"
        for each in summaries
        if "best" in each
    ]
    return "\n".join([columns([head, *rows]), *references, *best])


def _age(steps: float | None) -> str:
    """Returns a mean age of teachers; those of groups that are faster may be ahead."""
    if steps is None:
        return "-"
    return f"{abs(steps):.1f} steps{' ahead' if steps < 0 else ''}"


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
