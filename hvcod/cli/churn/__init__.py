"""``hvcod churn``: how much retrains disagree; one file per command."""

import click

from hvcod.cli.lazy import LazyGroup

COMMANDS = {
    "run": "Train a model again and again, in several ways, and compare the retrains.",
    "compare": "Compare the predictions of models, whoever trained them.",
}

EXAMPLES = """\b
Examples:
  laptop   hvcod churn run --task criteo --methods dnn,codistill --output churn
           hvcod churn compare monday.csv tuesday.csv
  cluster  hvcod churn compare dnn=/scratch/dnn-*.h5 codistill=/scratch/codistill-*.h5 \\
             --json
"""


@click.group(cls=LazyGroup, package=__name__, known=COMMANDS, epilog=EXAMPLES)
def command() -> None:
    """How much do retrains of a model disagree, and what helps."""
