"""``hvcod churn compare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hvcod.churn.options import CompareOptions
from hvcod.cli.churn.output import give_out, output_options
from hvcod.cli.options import build, dataclass_options
from hvcod.errors import UsageError
from hvcod.evaluation.options import EvaluationOptions

EXAMPLES = """\b
Examples:
  laptop   hvcod churn compare monday.csv tuesday.csv --html churn.html
           hvcod churn compare dnn=a.h5 dnn=b.h5 codistill=c.h5 codistill=d.h5
           hvcod churn compare runs/first runs/second --part test
  cluster  srun --mpi=pmix -n 32 hvcod churn compare /scratch/runs/a /scratch/runs/b --json
"""


@click.command(epilog=EXAMPLES)
@click.argument("sources", nargs=-1, required=True, metavar="[METHOD=]SOURCE...")
@dataclass_options(CompareOptions)
@click.option(
    "--group",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Which group of a run to compare.",
)
@click.option("--ensemble", is_flag=True, help="Compare the mean of all groups of a run.")
@dataclass_options(EvaluationOptions)
@output_options
def command(
    sources: Sequence[str],
    group: int,
    ensemble: bool,
    csv_file: Path | None,
    html_file: Path | None,
    fragile_csv: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare the predictions of two or more retrains on the same examples.

    A SOURCE is a file of predictions, a run directory, a training state, a published checkpoint or
    exported weights.
    A file of predictions is CSV, Parquet, Arrow or HDF5, compressed or not, with the columns (in
    HDF5: datasets) id, prediction and, if known, label. For several classes there are columns
    prediction_0, prediction_1, ..., or an HDF5 dataset [rows, classes]. The files in a
    folder count as one. Files with predictions and labels alone are aligned by row number.

    Write METHOD=SOURCE if the sources are retrains of several methods: the retrains of each method
    are compared with each other, and the churn of each method with that of the first.
    """
    from hvcod.churn.sources import by_method, compare_sources

    if fragile_csv and not flags.get("fragile"):
        raise UsageError("--fragile-csv goes with --fragile N, the number of rows of each method")
    report = compare_sources(
        by_method(sources),
        build(CompareOptions, flags),
        build(EvaluationOptions, flags),
        None if ensemble else group,
    )
    if report is not None:
        give_out(report, csv_file, html_file, fragile_csv, as_json)
