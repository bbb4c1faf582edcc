"""``hvcod job list``."""

import dataclasses
import json
from pathlib import Path

import click

from hvcod.cli.completing import runs
from hvcod.cli.options import json_option
from hvcod.cli.tables import columns
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod job list runs/first
  cluster  hvcod job list /scratch/runs/cc --json | jq '.[] | select(.state == "PENDING")'
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN", shell_complete=runs)
@json_option
def command(run: Path, as_json: bool) -> None:
    """Show the jobs that were submitted for a run, with their state in the queue.

    The progress of the training itself is shown by `hvcod status RUN`.
    """
    from hvcod.cluster.jobs.record import queued, submitted
    from hvcod.cluster.jobs.schedulers.base import Queued

    rows = []
    for job, parts in queued(submitted(run)):
        # A scheduler forgets jobs some minutes after their end.
        shown = parts or [Queued(job.id, "forgotten", "", "ended or was deleted some time ago", "")]
        shown.sort(key=lambda part: (len(part.id), part.id))
        rows += [{"name": job.name} | dataclasses.asdict(part) for part in shown]
    if as_json:
        show(json.dumps(rows))
    elif rows:
        head = list(rows[0])
        cells = [[row[key] or "-" for key in head] for row in rows]
        show(columns([head, *cells]))
    else:
        show(f"no jobs were submitted for {run}")
