"""``hvcod``: the command line. Commands are imported only when they run."""

import sys

import click

from hvcod import __version__
from hvcod.cli.lazy import LazyGroup

COMMANDS = {
    "train": "Train a model in groups that teach each other.",
    "evaluate": "Measure trained models on prepared data.",
    "predict": "Write down what trained models predict.",
    "churn": "Measure how much retrains disagree.",
    "data": "Prepare the data of a task.",
    "task": "List the tasks, or begin one of your own.",
    "plot": "Draw the learning curves of runs.",
    "status": "Show how the groups of a run are doing.",
    "job": "Submit training to Slurm or PBS, and follow it there.",
    "doctor": "Check whether a training would run here.",
    "plan": "Plan into how many groups to divide ranks.",
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
    """Codistillation: groups of MPI ranks train copies of a model that teach each other."""


def main() -> None:
    """Entry point of the console script."""
    run(cli)


def run(command: click.Command) -> None:
    """Runs a command and ends the process with the exit code of the contract.

    0 done, 1 failed, 2 wrong usage, 75 preempted after saving. A failure of one rank while others
    may be waiting for it takes the whole launch down (`hvcod.groups.abort`).
    """
    try:
        # What a command gave to `Context.exit`, if it did.
        code = command.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        _say_once(error)
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except Exception as error:
        from hvcod.groups.abort import abort

        abort(error)


def _say_once(error: click.ClickException) -> None:
    """The command line is the same on every rank: the first one speaks for all."""
    from hvcod.groups.environment import launch_rank

    if launch_rank() == 0:
        error.show()
