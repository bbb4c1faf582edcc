"""``hvcod``: the command line. Commands are imported only when they run."""

import sys

import click

from hvcod import __version__
from hvcod.cli.lazy import LazyGroup

COMMANDS = {
    "train": "Train a model in groups that teach each other.",
    "evaluate": "Measure trained models on prepared data.",
    "predict": "Write the predictions of trained models to a file.",
    "churn": "Measure how much the predictions of retrained models differ.",
    "data": "Prepare training data for a task.",
    "task": "List the tasks, or start one of your own.",
    "plot": "Plot the learning curves of runs.",
    "status": "Show the progress of the groups of a run.",
    "job": "Submit training to Slurm or PBS, and follow it there.",
    "doctor": "Check whether training would run here.",
    "plan": "Estimate how to divide ranks into groups.",
}

EXAMPLES = """\b
Examples:
  laptop   mpirun -np 4 hvcod train --groups 2 --task commoncrawl
  cluster  srun --mpi=pmix hvcod train --groups 2 --data /scratch/cc --preset paper
"""


@click.group(
    cls=LazyGroup,
    package="hvcod.cli",
    known=COMMANDS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="hvcod")
def cli() -> None:
    """Train neural networks by codistillation.

    Groups of MPI ranks train copies of a model that teach each other through small checkpoints on
    a shared file system.
    """


def main() -> None:
    """Entry point of the console script."""
    run(cli)


def run(command: click.Command) -> None:
    """Runs a command and ends the process with its exit code.

    0 done, 1 failed, 2 wrong usage, 75 preempted after saving. If one rank fails, others may be
    waiting for it, so the whole launch is aborted (`hvcod.groups.abort`).
    """
    try:
        # The exit code that a command passed to `Context.exit`, if it did.
        code = command.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        from hvcod.groups.environment import launch_rank

        # It is the same on every rank.
        if launch_rank() == 0:
            error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except Exception as error:
        from hvcod.groups.abort import abort

        abort(error)
