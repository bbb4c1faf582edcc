"""``hvcod status``."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvcod.cli.completing import runs
from hvcod.cli.follow import Follower
from hvcod.cli.options import PATH, json_option, page_option
from hvcod.cli.tables import columns
from hvcod.cli.watch import WatchCommand, watch_option
from hvcod.errors import HvcodError, UsageError
from hvcod.terminal import one_line, redraw, show
from hvcod.training.record.lines import finite
from hvcod.training.status import tables
from hvcod.training.status.collect import GroupStatus, RunStatus
from hvcod.training.status.prometheus import text as prometheus_text
from hvcod.training.status.several import Found, errors, readable
from hvcod.training.status.verdict import CANNOT_BE_READ, exit_code
from hvcod.units import figure

if TYPE_CHECKING:
    from hvcod.runs.page.file import PageFile

EXAMPLES = """\b
Examples:
  laptop   hvcod status runs/demo-20261122-170000 --watch
  page     hvcod status runs/demo-20261122-170000 --html run.html --watch 60
  cluster  hvcod status /scratch/runs/cc --json | jq '.groups[] | {group, state, step}'
  cron     hvcod status '/scratch/runs/*' --prometheus > x.prom && mv x.prom hvcod.prom
"""

_MOST_TROUBLES = 20


@click.command(cls=WatchCommand, epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...", shell_complete=runs)
@watch_option("Refresh every SECONDS [2; with --html: 30] until all groups are finished or Ctrl-C.")
@page_option("Also write a self-contained page of the run; with --watch it refreshes itself.")
@click.option(
    "--prometheus", is_flag=True, help="Print metrics for node_exporter's textfile collector."
)
@click.option(
    "--exit-code",
    "says_how",
    is_flag=True,
    help="Exit with 0 if all is well, 3: problems, 4: a group is silent, 5: failed, 75: preempted.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    runs: Sequence[Path],
    watch: float | None,
    html_file: Path | None,
    prometheus: bool,
    says_how: bool,
    as_json: bool,
) -> None:
    """Show the progress of the groups of runs, and whether they are training, ended or killed.

    It only reads files of the runs, so it works on any machine that can see them. Several RUNs get
    a line each; a pattern in quotes stands for all runs that match it. --json prints one object for
    each run, with --watch or several of them on a line each.
    """
    others = {"--json": as_json, "--watch": watch is not None, "--html": html_file is not None}
    if prometheus and (given := [name for name, value in others.items() if value]):
        raise UsageError(f"--prometheus prints the metrics of one moment: leave out {given[0]}")
    shown = _printer(as_json, prometheus, watch is not None)
    follower = Follower(runs, _page(html_file), shown)
    follower.follow(watch)
    code = exit_code(readable(follower.found).values())
    if says_how or (code == CANNOT_BE_READ and watch is None and not prometheus):
        ctx.exit(code)


def _page(html_file: Path | None) -> "PageFile | None":
    if html_file is None:
        return None
    from hvcod.runs.page.file import PageFile

    return PageFile(html_file)


def _printer(as_json: bool, prometheus: bool, watches: bool) -> Callable[[Found], None]:
    if prometheus:
        return _show_metrics
    if as_json:
        return partial(_show_json, watches)
    if watches:
        return _redraw if sys.stdout.isatty() else _show_log
    return lambda found: show("\n".join(_lines(found)))


def _show_metrics(found: Found) -> None:
    for error in errors(found):
        show(f"hvcod: {error}", err=True)
    show(prometheus_text(_named(found)), end="")


def _show_json(watches: bool, found: Found) -> None:
    indent = 2 if len(found) == 1 and not watches else None
    for run, each in found.items():
        error = {"run": str(run), "error": str(each)}
        show(to_json(each, indent) if isinstance(each, RunStatus) else json.dumps(error))


def to_json(status: RunStatus, indent: int | None = None) -> str:
    """Returns the status as one JSON object."""
    return json.dumps(finite(dataclasses.asdict(status)), indent=indent, allow_nan=False)


def _redraw(found: Found) -> None:
    redraw(_lines(found))


def _show_log(found: Found) -> None:
    """Shows one line for each group."""
    clock = time.strftime("%H:%M:%S")
    for run, each in found.items():
        name = f"{clock} {run}: " if len(found) > 1 else f"{clock} "
        if isinstance(each, HvcodError):
            show(one_line(str(each)))
        else:
            for group in each.groups:
                show(one_line(f"{name}{_in_short(group, each.steps)}"))


def _lines(found: Found) -> list[str]:
    """Returns the table of a run, or that of several with a line for each of them."""
    if len(found) == 1:
        (only,) = found.values()
        return table(only) if isinstance(only, RunStatus) else [str(only)]
    head, *rows = tables.overview(_named(found))
    troubles = []
    for run, each in found.items():
        lines = tables.troubles(each) if isinstance(each, RunStatus) else [str(each)]
        troubles += [f"{run}: {line}" if isinstance(each, RunStatus) else line for line in lines]
    shown = columns([head, *rows], right=range(3, len(head))).split("\n")
    return [one_line(line) for line in (*shown, *_most(troubles))]


def _named(found: Found) -> dict[str, RunStatus | None]:
    return {str(run): status for run, status in readable(found).items()}


def table(status: RunStatus) -> list[str]:
    """Returns the status as lines of text; all but reasons and paths fit into 100 columns."""
    lines = [status.run, tables.about(status)]
    for each in tables.tables(status):
        right = set(range(len(each.head))) - each.words
        lines += ["", *columns([each.head, *each.rows], right).split("\n")]
    more = tables.remarks(status)
    lines += ["", *more] if more else []
    return [one_line(line) for line in (*lines, *_most(tables.troubles(status)))]


def _most(troubles: list[str]) -> list[str]:
    hidden = len(troubles) - _MOST_TROUBLES
    rest = [f"and {hidden} more: see --json"] if hidden > 0 else []
    return ["", *troubles[:_MOST_TROUBLES], *rest] if troubles else []


def _in_short(group: GroupStatus, steps: int | None) -> str:
    """Returns a group on a line of a log."""
    parts = [
        f"group {group.group}: {tables.state(group)}",
        f"step {figure(group.step)} of {figure(steps)}",
        f"{figure(group.steps_per_s, '.3g')}/s",
        f"task loss {figure(group.task_loss, '.4f')}",
    ]
    if group.validation_step is not None:
        loss = figure(group.validation_loss, ".4f")
        parts.append(f"validation {loss} at {group.validation_step}")
    if group.staleness:
        parts.append(f"staleness {tables.of_teachers(group.staleness, 'd')}")
    if group.largest_gradient_staleness is not None:
        parts.append(f"staleness of gradients {group.largest_gradient_staleness:.1f}")
    if group.disagreement:
        parts.append(f"disagreement {tables.of_teachers(group.disagreement, '.3g')}")
    parts += [f"published {group.published.step}"] if group.published.step is not None else []
    parts += [f"saved {group.saved.step}"] if group.saved.step is not None else []
    problems = sum(group.problems.values())
    parts += [f"{problems} problems"] if problems else []
    return ", ".join(parts)
