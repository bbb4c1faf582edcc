"""Every rank opens the run directory, says what it got, and lets go.

python open_run.py RUN GROUPS BATCH_SIZE [GROUP]
"""

from pathlib import Path

import click

from hvcod.cli.main import run
from hvcod.config import TrainOptions
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.run.directory import open_run


@click.command()
@click.argument("directory", type=Path)
@click.argument("groups", type=int)
@click.argument("batch_size", type=int)
@click.argument("only", type=int, required=False)
def main(directory: Path, groups: int, batch_size: int, only: int | None) -> None:
    """Runs as every command of hvcod does."""
    group = split(world(), groups, only)
    options = TrainOptions(run_dir=directory, groups=groups, batch_size=batch_size, group=only)
    opened = open_run(options, group, world())
    owned = sorted(path.parent.name for path in directory.glob("group-*/owner.json"))
    world().Barrier()
    line = f"{world().rank} {opened.id} {opened.group.name} {opened.owner is not None} {owned}"
    print(line, flush=True)
    opened.close()


run(main)
