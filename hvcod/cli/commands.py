"""The commands of ``hvcod``. Each is imported only when it runs."""

import click

from hvcod import __version__
from hvcod.cli.lazy import LazyGroup

COMMANDS = {
    "train": "Train a model in groups that teach each other.",
    "evaluate": "Measure trained models on prepared data.",
    "predict": "Write the predictions of trained models to a file.",
    "export": "Write trained weights to a file for others.",
    "churn": "Measure how much the predictions of retrained models differ.",
    "experiment": "Train and report the figures and tables of the paper.",
    "data": "Prepare training data for a task.",
    "task": "List the tasks, or start one of your own.",
    "plot": "Plot the learning curves of runs.",
    "status": "Show the progress of the groups of a run.",
    "job": "Submit training to Slurm, PBS or LSF, and follow it there.",
    "doctor": "Check whether training would run here.",
    "advise": "Tell whether a second group, or a larger batch, would help.",
    "plan": "Estimate how to divide ranks into groups.",
    "completion": "Print the script by which a shell completes hvcod.",
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
