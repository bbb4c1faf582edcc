"""``hvcod data``: prepares the data of a task; one file per task."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from hvcod.cli.lazy import LazyGroup
from hvcod.terminal import show

if TYPE_CHECKING:
    from hvcod.tasks.preparing.pipeline import Preparation, Report

COMMANDS = {
    "commoncrawl": "Turn text into token shards.",
    "criteo": "Turn rows of the Criteo data into features.",
    "imagenet": "Pack images in class folders into a few large files.",
}

EXAMPLES = """\b
Examples:
  laptop   hvcod data commoncrawl books/*.jsonl.xz --output data/books
           hvcod data criteo train.txt.gz --output data/criteo
           hvcod data imagenet cifar10.tar.xz --output data/cifar10
  cluster  srun --mpi=pmix -N 4 --ntasks-per-node 32 hvcod data commoncrawl \\
             --download CC-MAIN-2020-50 --files 2000 --output /scratch/cc
"""


@click.group(cls=LazyGroup, package=__name__, known=COMMANDS, epilog=EXAMPLES)
def command() -> None:
    """Prepare the data of a task."""


def run_and_show(
    preparation: "Preparation", table: "Callable[[Report], str]", as_json: bool
) -> None:
    """Runs a preparation and prints its report on one rank. Collective."""
    report = preparation.run()
    if preparation.world.rank == 0:
        ready = f"{preparation.output} is ready"
        show(json.dumps(report) if as_json else f"{table(report)}\n{ready}")
