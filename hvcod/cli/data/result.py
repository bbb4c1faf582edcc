"""Preparing data and showing the report, the same for every task."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hvcod.tasks.preparing.pipeline import Preparation, Report


def run_and_show(
    preparation: "Preparation", table: "Callable[[Report], str]", as_json: bool
) -> None:
    """Runs a preparation and prints its report on one rank. Collective."""
    report = preparation.run()
    if preparation.world.rank == 0:
        ready = f"{preparation.output} is ready"
        click.echo(json.dumps(report) if as_json else f"{table(report)}\n{ready}")
