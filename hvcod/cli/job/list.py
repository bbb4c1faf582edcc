"""``hvcod job list``."""

import dataclasses
import json
from pathlib import Path

import click

from hvcod.cli.options import json_option
from hvcod.cli.tables import columns

EXAMPLES = """\b
Examples:
  laptop   hvcod job list runs/first
  cluster  hvcod job list /scratch/runs/cc --json | jq '.[] | select(.state == "PENDING")'
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@json_option
def command(run: Path, as_json: bool) -> None:
    """Show the jobs that were submitted for a run, and how each is doing in the queue.

    How the training itself is doing is shown by `hvcod status RUN`.
    """
    from hvcod.cluster.jobs.queue import Queued
    from hvcod.cluster.jobs.record import states, submitted

    rows = []
    for job, parts in states(submitted(run)):
        # A scheduler forgets jobs some minutes after their end.
        known = parts or [Queued(job.id, "forgotten", "", "ended some time ago", "")]
        known.sort(key=lambda part: (len(part.id), part.id))
        rows += [{"name": job.name} | dataclasses.asdict(part) for part in known]
    if as_json:
        click.echo(json.dumps(rows))
    elif rows:
        head = list(rows[0])
        click.echo(columns([head, *([row[key] or "-" for key in head] for row in rows)]))
    else:
        click.echo(f"no jobs were submitted for {run}")
