"""``hvcod job cancel``."""

import json
from pathlib import Path

import click

from hvcod.cli.completing import runs
from hvcod.cli.options import json_option
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod job cancel runs/first
  cluster  hvcod job cancel /scratch/runs/cc --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN", shell_complete=runs)
@json_option
def command(run: Path, as_json: bool) -> None:
    """Cancel all jobs of a run that wait or run; what they have saved stays."""
    from hvcod.cluster.jobs.record import cancel, waiting_or_running

    jobs = waiting_or_running(run)
    cancel(jobs)
    if as_json:
        show(json.dumps({"cancelled": [job.id for job in jobs]}))
    else:
        lines = [f"cancelled {job.name}: {job.id}" for job in jobs]
        show("\n".join(lines) or "no job is waiting or running")
