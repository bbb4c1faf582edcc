"""``hvcod plot``."""

from collections.abc import Sequence
from pathlib import Path

import click

from hvcod.cli.completing import runs
from hvcod.cli.options import PATH
from hvcod.errors import UsageError
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod plot runs/demo-20261122-170000 --times
  by time  hvcod plot runs/one-group runs/two-groups --over time
  cluster  hvcod plot /scratch/runs/sync /scratch/runs/codistilled --output curves.pdf
"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...", shell_complete=runs)
@click.option(
    "--output",
    type=PATH,
    help="The picture to write (.png, .svg, .pdf).  [default: curves.png, or times.png, in the "
    "first RUN]",
)
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
    runs: Sequence[Path], output: Path | None, over: str, per_step: bool, times: bool
) -> None:
    """Draw the curves of runs, for each group. The runs may still be training.

    Validation and training loss and other metrics, how far the predictions of teachers are apart,
    how stale teachers are, and the bytes that moved inside and between groups.
    """
    from hvcod.runs.plot import draw

    if times and (per_step or over != "steps"):
        raise UsageError("--times draws the parts of a step: leave out --over and --per-step")

    picture = output or runs[0] / ("times.png" if times else "curves.png")
    draw(runs, picture, over, per_step, step_times=times)
    show(picture)
