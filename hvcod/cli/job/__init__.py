"""``hvcod job``: batch jobs; one file per command."""

import click

from hvcod.cli.lazy import LazyGroup

COMMANDS = {
    "render": "Print the batch scripts of a job.",
    "submit": "Check the scripts and submit them to the scheduler.",
    "list": "Show the jobs of a run.",
    "cancel": "Cancel the jobs of a run.",
    "stop": "Let a run save and stop.",
    "run": "Launch a command inside a job; batch scripts do this.",
    "rsh": "Run a command on another host of a job; mpirun does this.",
}

EXAMPLES = """\b
Examples:
  laptop   hvcod job render --scheduler slurm --nodes 2 --ranks-per-node 4 --groups 2 \\
             -- train --task commoncrawl --run-dir runs/first
  cluster  hvcod job submit --profile nersc --account m1234 --nodes 8 --ranks-per-node 4 \\
             --gpus-per-node 4 --groups 2 --time 12h \\
             -- train --data /scratch/cc --preset paper --run-dir /scratch/runs/cc
           hvcod job list /scratch/runs/cc
"""


@click.group(cls=LazyGroup, package=__name__, known=COMMANDS, epilog=EXAMPLES)
def command() -> None:
    """Batch jobs on Slurm, PBS and LSF: print, submit, list, stop, cancel and run them."""
