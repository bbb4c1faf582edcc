"""``hvcod plot``."""

from collections.abc import Sequence
from pathlib import Path

import click

from hvcod.cli.completing import runs
from hvcod.cli.follow import Follower, expanded
from hvcod.cli.options import PATH, page_option
from hvcod.cli.watch import WatchCommand, watch_option
from hvcod.errors import UsageError
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod plot runs/demo-20261122-170000 --times
  by time  hvcod plot runs/one-group runs/two-groups --over time
  page     hvcod plot runs/one-group runs/two-groups --html curves.html --watch
  cluster  hvcod plot /scratch/runs/sync /scratch/runs/codistilled --output curves.pdf
"""


@click.command(cls=WatchCommand, epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...", shell_complete=runs)
@click.option(
    "--output",
    type=PATH,
    help="The picture to write (.png, .svg, .pdf).  [default: curves.png, or times.png, in the "
    "first RUN]",
)
@page_option("Write a self-contained page instead of a picture, with curves and times.")
@watch_option("Write the page again every SECONDS [30] until all groups are finished or Ctrl-C.")
@click.option(
    "--over",
    type=click.Choice(["steps", "examples", "time"]),
    default="steps",
    show_default=True,
    help="The horizontal axis: steps, examples that a group has learned from, or wall time.",
)
@click.option("--per-step", is_flag=True, help="Draw the bytes that move in a step, not their sum.")
@click.option(
    "--times",
    is_flag=True,
    help="Draw what a step's time went to instead: data, forward, teachers, backward, allreduce, "
    "update, exchange, agreement.",
)
def command(
    runs: Sequence[Path],
    output: Path | None,
    html_file: Path | None,
    watch: float | None,
    over: str,
    per_step: bool,
    times: bool,
) -> None:
    """Draw the curves of runs, for each group. The runs may still be training.

    Validation and training loss and other metrics, how far the predictions of teachers are apart,
    how stale teachers are, and the bytes that moved inside and between groups.
    """
    if times and (per_step or over != "steps"):
        raise UsageError("--times draws the parts of a step: leave out --over and --per-step")
    if html_file is None:
        _draw(runs, output, over, per_step, times, watch)
        return
    if times or output:
        raise UsageError(
            "--html writes a page with curves and times: leave out --times and --output"
        )
    from hvcod.runs.page.file import PageFile

    follower = Follower(runs, PageFile(html_file, over, per_step, compares=True))
    follower.follow(watch)
    show(html_file)


def _draw(
    runs: Sequence[Path],
    output: Path | None,
    over: str,
    per_step: bool,
    times: bool,
    watch: float | None,
) -> None:
    from hvcod.runs.plot import draw

    if watch is not None:
        raise UsageError("--watch writes a page again: name it with --html")
    runs = expanded(runs)
    picture = output or runs[0] / ("times.png" if times else "curves.png")
    draw(runs, picture, over, per_step, step_times=times)
    show(picture)
