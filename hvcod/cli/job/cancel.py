"""``hvcod job cancel``."""

import json
from pathlib import Path

import click

from hvcod.cli.options import json_option

EXAMPLES = """\b
Examples:
  laptop   hvcod job cancel runs/first
  cluster  hvcod job cancel /scratch/runs/cc --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@json_option
def command(run: Path, as_json: bool) -> None:
    """Cancel all jobs of a run that wait or run; what they had saved stays."""
    from hvcod.cluster.jobs import queue
    from hvcod.cluster.jobs.record import waiting_or_running

    jobs = waiting_or_running(run)
    for scheduler in sorted({job.scheduler for job in jobs}):
        queue.cancel(scheduler, [job.id for job in jobs if job.scheduler == scheduler])
    if as_json:
        click.echo(json.dumps({"cancelled": [job.id for job in jobs]}))
    else:
        click.echo(
            "\n".join(f"cancelled {job.name}: {job.id}" for job in jobs) or "no job waits or runs"
        )
