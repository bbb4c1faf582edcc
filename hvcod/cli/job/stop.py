"""``hvcod job stop``."""

import json
from pathlib import Path

import click

from hvcod.cli.completing import runs
from hvcod.cli.options import json_option
from hvcod.terminal import show

EXAMPLES = """\b
Examples:
  laptop   hvcod job stop runs/first
  cluster  hvcod job stop /scratch/runs/cc
           hvcod job submit ... -- train --run-dir /scratch/runs/cc   # goes on
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    shell_complete=runs,
)
@json_option
def command(run: Path, as_json: bool) -> None:
    """Let a run save and stop, however it was started.

    Its groups see a file in the run directory within seconds, save at the end of their step, and
    exit with 75. Their jobs do not go back into the queue, and jobs of the run that wait are
    cancelled. RUN may also be the --output of `hvcod churn run` or `hvcod experiment`.
    """
    from hvcod.cluster.jobs.record import cancel, folders, waiting
    from hvcod.errors import HvcodError
    from hvcod.training.run.stop_file import ask_to_stop

    jobs, refused = [], ""
    try:
        # First, or a job that waits for this one would start and go on.
        jobs = waiting(run)
        cancel(jobs)
    except HvcodError as error:
        # The run stops all the same, such as where no scheduler's programs are.
        jobs, refused = [], f"warning: no job that waits was cancelled: {error}"
    runs = ask_to_stop(run, folders(run))
    if refused:
        show(refused, err=True)
    if as_json:
        asked = [str(path) for path in runs]
        show(json.dumps({"asked": asked, "cancelled": [job.id for job in jobs]}))
        return
    lines = [f"cancelled {job.name}: {job.id}" for job in jobs]
    lines += [f"asked {path} to save and stop; see hvcod status {path}" for path in runs]
    show("\n".join(lines) or f"nothing is being trained in {run}")
