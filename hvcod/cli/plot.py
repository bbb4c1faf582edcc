"""``hvcod plot``."""

from collections.abc import Sequence
from pathlib import Path

import click

from hvcod.cli.options import PATH
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod plot runs/demo-20261122-170000 --times
  cluster  hvcod plot /scratch/runs/sync /scratch/runs/codistilled --output curves.pdf
"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option(
    "--output",
    type=PATH,
    help="The picture to write (.png, .svg, .pdf).  [default: curves.png, or times.png, in the "
    "first RUN]",
)
@click.option(
    "--times",
    is_flag=True,
    help="Draw what a step's time went to instead: data, forward, teachers, backward, allreduce, "
    "update, exchange, agreement.",
)
def command(runs: Sequence[Path], output: Path | None, times: bool) -> None:
    """Draw the learning curves of runs, one curve per group. The runs may still be training."""
    from hvcod.runs.plot import draw

    picture = output or runs[0] / ("times.png" if times else "curves.png")
    draw(runs, picture, times)
    show(picture)
