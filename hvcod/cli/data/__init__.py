"""``hvcod data``: prepares the data of a task; one file per task."""

import click

from hvcod.cli.lazy import LazyGroup

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
