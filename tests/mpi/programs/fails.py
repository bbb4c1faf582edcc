"""One rank fails while the others wait in a collective. Arguments: how, which rank."""

import sys
import threading
import time

import click

from hvcod.cli.main import run
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import split
from hvcod.groups.world import world


@click.command()
@click.argument("how")
@click.argument("rank", type=int)
def fails(how: str, rank: int) -> None:
    """Runs as every command of hvcod does."""
    group = split(world(), 2)
    if world().rank == rank:
        if how == "error":
            raise HvcodError("the disk of step 7 is full; make room")
        if how == "usage":
            raise UsageError("--config here.toml: this node does not see it")
        if how == "thread":
            threading.Thread(target=lambda: 1 / 0).start()
            time.sleep(600)
        raise ValueError("a programming error")
    group.comm.Barrier()
    world().Barrier()


print(sys.argv, flush=True)
run(fails)
