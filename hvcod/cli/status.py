"""``hvcod status``."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from hvcod.cli.completing import runs
from hvcod.cli.options import PATH, json_option
from hvcod.cli.tables import columns, figure
from hvcod.errors import HvcodError
from hvcod.spans import PARTS
from hvcod.terminal import one_line, redraw, show
from hvcod.training.record.lines import finite
from hvcod.training.status.collect import GroupStatus, RunStatus, collect
from hvcod.units import byte_count, counted, duration

EXAMPLES = """\b
Examples:
  laptop   hvcod status runs/demo-20261122-170000 --watch
  cluster  hvcod status /scratch/runs/cc --json | jq '.groups[] | {group, state, step}'
"""

_PAUSE = 2.0
_MOST_TROUBLES = 20


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accepts ``--watch`` in front of RUN without SECONDS."""
        for at, word in enumerate(args):
            following = "".join(args[at + 1 : at + 2])
            if word == "--watch" and not following.replace(".", "").isdecimal():
                args = [*args[:at], f"--watch={_PAUSE}", *args[at + 1 :]]
        return super().parse_args(ctx, args)


@click.command(cls=_Command, epilog=EXAMPLES)
@click.argument("run", type=PATH, metavar="RUN", shell_complete=runs)
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help=f"Refresh every SECONDS [{_PAUSE:g}] until all groups are finished or Ctrl-C.",
)
@json_option
def command(run: Path, watch: float | None, as_json: bool) -> None:
    """Show the progress of the groups of a run, and whether they are training, ended or killed.

    It only reads files of the run, so it works on any machine that can see them. --watch with
    --json prints one object per line.
    """
    if watch is None:
        status = collect(run)
        show(to_json(status, indent=2) if as_json else "\n".join(table(status)))
        return
    try:
        _watch(run, watch, as_json)
    except KeyboardInterrupt:
        show()


def to_json(status: RunStatus, indent: int | None = None) -> str:
    """Returns the status as one JSON object."""
    return json.dumps(finite(dataclasses.asdict(status)), indent=indent, allow_nan=False)


def table(status: RunStatus) -> list[str]:
    """Returns the status as lines of text; all but reasons and paths fit into 100 columns."""
    about = [status.task or "unknown task", counted(len(status.groups), "group")]
    about += [f"{status.steps} steps"] if status.steps is not None else []
    about += [f"begun {status.created}"] if status.created else []
    head = ["group", "state", "step", "done", "step/s", "left", "task loss"]
    head += ["validation", "at", "staleness"]
    late = any(group.largest_gradient_staleness is not None for group in status.groups)
    head += ["of gradients"] if late else []
    learning = columns(
        [head, *(_learning(group, status.steps)[: len(head)] for group in status.groups)],
        right={0, *range(2, len(head))},
    )
    head = ["group", "distillation", "weight", "teachers' losses", "disagreement"]
    taught = [_teaching(group) for group in status.groups if _is_taught(group)]
    teaching = columns([head, *taught], right=range(len(head))).split("\n") if taught else []
    head = ["group", "published", "ago", "size", "saved", "ago", "size", "total"]
    head += ["restarts", "skipped"]
    files = columns([head, *map(_files, status.groups)], right=range(len(head)))
    lines = [status.run, ", ".join(about), "", *learning.split("\n"), ""]
    lines += [*teaching, ""] if teaching else []
    lines += [*_times(status), ""] if any(group.times for group in status.groups) else []
    lines += files.split("\n")
    more = [_teacher_ranks(group) for group in status.groups if group.teacher_ranks]
    more += [_noise(group) for group in status.groups if group.noise]
    more += [_own_options(group) for group in status.groups if group.options]
    lines += ["", *more] if more else []
    troubles = [*status.notes, *(line for group in status.groups for line in _troubles(group))]
    hidden = len(troubles) - _MOST_TROUBLES
    rest = [f"and {hidden} more: see --json"] if hidden > 0 else []
    lines += ([""] if troubles else []) + troubles[:_MOST_TROUBLES] + rest
    return [one_line(line) for line in lines]


def _watch(run: Path, pause: float, as_json: bool) -> None:
    on_terminal = sys.stdout.isatty() and not as_json
    while True:
        status = None
        try:
            status = collect(run)
            lines = table(status) if on_terminal else list(_plain(status))
            lines = [to_json(status)] if as_json else lines
        except HvcodError as error:
            lines = [json.dumps({"run": str(run), "error": str(error)}) if as_json else str(error)]
        _show(lines, on_terminal)
        if status and {group.state for group in status.groups} == {"finished"}:
            return
        time.sleep(pause)


def _show(lines: list[str], on_terminal: bool) -> None:
    if on_terminal:
        redraw(lines)
    else:
        show("\n".join(lines))


def _plain(status: RunStatus) -> Iterator[str]:
    """Yields one line for each group, for a log."""
    clock = time.strftime("%H:%M:%S")
    for group in status.groups:
        parts = [
            f"{clock} group {group.group}: {_state(group)}",
            f"step {figure(group.step)} of {figure(status.steps)}",
            f"{figure(group.steps_per_s, '.3g')}/s",
            f"task loss {figure(group.task_loss, '.4f')}",
        ]
        if group.validation_step is not None:
            loss = figure(group.validation_loss, ".4f")
            parts.append(f"validation {loss} at {group.validation_step}")
        parts += [f"staleness {_of_teachers(group.staleness, 'd')}"] if group.staleness else []
        if group.largest_gradient_staleness is not None:
            parts.append(f"staleness of gradients {group.largest_gradient_staleness:.1f}")
        if group.disagreement:
            parts.append(f"disagreement {_of_teachers(group.disagreement, '.3g')}")
        parts += [f"published {group.published.step}"] if group.published.step is not None else []
        parts += [f"saved {group.saved.step}"] if group.saved.step is not None else []
        problems = sum(group.problems.values())
        parts += [f"{problems} problems"] if problems else []
        yield one_line(", ".join(parts))


def _learning(group: GroupStatus, steps: int | None) -> list[str]:
    done = f"{100 * group.step // steps}%" if steps and group.step is not None else "-"
    return [
        str(group.group),
        _state(group),
        figure(group.step),
        done,
        figure(group.steps_per_s, ".3g"),
        duration(group.remaining_s) if group.state == "training" else "-",
        figure(group.task_loss, ".4f"),
        figure(group.validation_loss, ".4f"),
        figure(group.validation_step),
        _of_teachers(group.staleness, "d"),
        figure(group.largest_gradient_staleness, ".1f"),
    ]


def _is_taught(group: GroupStatus) -> bool:
    return bool(group.teachers or group.teacher_losses or group.disagreement)


def _teaching(group: GroupStatus) -> list[str]:
    loss, weight = group.distill_loss, group.distill_weight
    return [
        str(group.group),
        figure(loss / weight if loss is not None and weight else None, ".4f"),
        figure(weight, ".3g"),
        _of_teachers(group.teacher_losses, ".4f"),
        _of_teachers(group.disagreement, ".3g"),
    ]


def _times(status: RunStatus) -> list[str]:
    """The time of a step of each group, and the shares of its parts."""
    rows = [["group", "ms/step", *PARTS]]
    for group in status.groups:
        if total := sum(group.times.values()):
            shares = [f"{100 * group.times.get(part, 0.0) / total:.1f}%" for part in PARTS]
            rows.append([str(group.group), f"{1000 * total:.4g}", *shares])
    return columns(rows, right=range(len(rows[0]))).split("\n")


def _files(group: GroupStatus) -> list[str]:
    cells = [str(group.group)]
    for kept in (group.published, group.saved):
        cells += [figure(kept.step), duration(kept.age_s), byte_count(kept.bytes)]
    return [*cells, byte_count(group.bytes), figure(group.restarts), str(group.skipped_steps)]


def _teacher_ranks(group: GroupStatus) -> str:
    ahead, missed = (group.teacher_ranks.get(name, 0) for name in ("ahead", "missed"))
    batches = "1 batch" if ahead == 1 else f"{ahead} batches"
    steps = f"{counted(missed, 'step')} without predictions"
    return f"group {group.group}: teacher ranks are {batches} ahead, {steps}"


def _noise(group: GroupStatus) -> str:
    noise = group.noise
    low, high = figure(noise.get("low"), ".3g"), noise.get("high")
    between = f"{low} or more" if high is None else f"{low} to {high:.3g}"
    scale = figure(noise.get("scale"), ".3g")
    batch = figure(noise.get("batch"), "g")
    name = f"group {group.group}: gradient noise scale"
    return f"{name} {scale} examples ({between}), batch {batch}"


def _own_options(group: GroupStatus) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in sorted(group.options.items()))
    return f"group {group.group} has options of its own: {shown}"


def _troubles(group: GroupStatus) -> Iterator[str]:
    name = f"group {group.group}"
    if group.reason:
        seen = f" for {duration(group.seen_s)}" if group.state == "silent" else ""
        yield f"{name}: {group.state}{seen}: {group.reason}"
    for what, count in group.problems.items():
        last = f"; the last: {group.reasons[what]}" if group.reasons.get(what) else ""
        yield f"{name}: {what}, {counted(count, 'time')}{last}"
    yield from (f"{name}: cannot read {note}" for note in group.notes)


def _state(group: GroupStatus) -> str:
    return f"silent {duration(group.seen_s)}" if group.state == "silent" else group.state


def _of_teachers(values: Mapping[str, float], form: str) -> str:
    """``1: 50`` (teacher: value), or the range if there are more than two teachers."""
    if len(values) <= 2:
        return ", ".join(f"{teacher}: {value:{form}}" for teacher, value in values.items()) or "-"
    return f"{min(values.values()):{form}} to {max(values.values()):{form}}"
