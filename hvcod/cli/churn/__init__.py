"""``hvcod churn``: measures how much retrains disagree; one file per command."""

import click

from hvcod.cli.lazy import LazyGroup

COMMANDS = {
    "run": "Train a model repeatedly, by several methods, and compare the retrains.",
    "compare": "Compare predictions of any models, also from elsewhere.",
    "gate": "Decide by limits whether a retrain may replace the model in production.",
}

EXAMPLES = """\b
Examples:
  laptop   hvcod churn run --task criteo --methods dnn,codistill --output churn
           hvcod churn compare monday.csv tuesday.csv
           hvcod churn gate --production monday.csv --candidate tuesday.csv --max-churn 0.02
  cluster  hvcod churn compare dnn=/scratch/dnn-*.h5 codistill=/scratch/codistill-*.h5 \\
             --json
"""


@click.group(cls=LazyGroup, package=__name__, known=COMMANDS, epilog=EXAMPLES)
def command() -> None:
    """Measure how much the predictions of retrained models differ (prediction churn)."""
