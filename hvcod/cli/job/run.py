"""``hvcod job run``."""

from pathlib import Path
from typing import Any

import click

from hvcod.registry import SCHEDULERS

EXAMPLES = """\b
Examples:
  laptop   hvcod job run --scheduler pbs --folder runs/first --name train --script train.sh \\
             -- mpirun -np 2 hvcod train --groups 2 --run-dir runs/first
  cluster  hvcod job run --scheduler slurm --folder runs/cc --name train --script "$0" \\
             -- srun --mpi=pmix hvcod train --groups 2 --run-dir runs/cc
"""


@click.command(epilog=EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND...")
@click.option(
    "--scheduler",
    required=True,
    type=click.Choice(SCHEDULERS),
    help="The batch system that runs this job.",
)
@click.option(
    "--folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Where scripts, logs and the record of the jobs are.",
)
@click.option("--name", required=True, help="The name of the job's script, such as train.")
@click.option(
    "--script",
    required=True,
    type=click.Path(path_type=Path),
    help="The batch script, which is submitted again where a job may not be requeued.",
)
@click.option("--index", type=int, help="The job's index in its array.")
@click.option("--followed-by", metavar="NAME", help="The script whose job waits for this one.")
@click.option(
    "--waits-for",
    metavar="NAME",
    multiple=True,
    help="A script whose jobs must have ended, also those in which one went on; while one waits or "
    "runs, this job submits itself behind it. May be repeated.",
)
@click.option(
    "--stop-by",
    type=click.Choice(["signal", "clock"]),
    default="signal",
    show_default=True,
    help="Pass warnings on to COMMAND, or leave it alone: its ranks watch the clock.",
)
def command(words: tuple[str, ...], scheduler: str, stop_by: str, **job: Any) -> None:
    """Run COMMAND, a launcher and its arguments, inside a batch job; scripts end with this.

    When the scheduler warns by USR1, USR2 or TERM, COMMAND gets USR2. If it exits with 75 (saved,
    start me again), or a rank of a training was killed, the job goes back into the
    queue, unless somebody has cancelled it. The exit code is that of COMMAND.
    """
    from hvcod.cluster.jobs.running import run
    from hvcod.cluster.jobs.script import RunningJob

    code = run(scheduler, RunningJob(**job), words, by_clock=stop_by == "clock")
    click.get_current_context().exit(code)
