"""``hvcod churn gate``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.churn.options import CompareOptions, GateOptions
from hvcod.cli.churn.output import result_page_option
from hvcod.cli.options import PATH, build, dataclass_options, json_option
from hvcod.cli.sectioned import SectionedCommand, option_of
from hvcod.errors import REFUSED
from hvcod.evaluation.options import EvaluationOptions
from hvcod.sections import Section
from hvcod.terminal import one_line, show

if TYPE_CHECKING:
    from hvcod.churn.gate.report import GateReport

EXAMPLES = """\b
Examples:
  laptop   hvcod churn gate --production monday.csv --candidate tuesday.csv --max-churn 0.02
           hvcod churn gate --production live.parquet --candidate a.parquet \\
             --candidate b.parquet --max-flips 0.01 --min-gain -0.0005 \\
             --slice-column country --slice-max-churn 0.05 --html gate.html
  cluster  srun --mpi=pmix -n 8 hvcod churn gate --production /scratch/runs/live \\
             --candidate /scratch/runs/new --part test --max-churn 0.02 --json
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@option_of(
    Section.GATE,
    "--production",
    required=True,
    type=PATH,
    metavar="SOURCE",
    help="The predictions of the model in production, or that model.",
)
@option_of(
    Section.GATE,
    "--candidate",
    "candidates",
    required=True,
    multiple=True,
    metavar="SOURCE",
    help="Those of a retrain that may replace it, or a pattern such as 'new-*.csv'.  May be "
    "repeated.",
)
@dataclass_options(GateOptions)
@result_page_option
@json_option
@dataclass_options(CompareOptions, without=("fragile",))
@option_of(
    Section.MODELS,
    "--group",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Which group of a run to compare.",
)
@option_of(
    Section.MODELS,
    "--ensemble",
    is_flag=True,
    help="Compare the mean of all groups of a run.",
)
@dataclass_options(EvaluationOptions)
def command(
    production: Path,
    candidates: Sequence[str],
    group: int,
    ensemble: bool,
    html_file: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Decide by limits whether a retrain may replace the model in production.

    The exit code is the answer: 0, a candidate passes; 3, all are refused; 1, the comparison
    failed; 2, wrong usage. Give at least one limit. A limit is compared with the 95% interval of
    the measure over the rows, and kept only if the whole interval keeps it: see --judge.

    A SOURCE is a file of predictions, a run directory, a training state, a published checkpoint or
    exported weights, as for `hvcod churn compare`. All of them must have predicted the same rows.
    """
    from hvcod.churn.gate.gate import gate_sources
    from hvcod.churn.sources import matching

    passed, report = gate_sources(
        production,
        matching(candidates),
        build(GateOptions, flags),
        build(CompareOptions, flags),
        build(EvaluationOptions, flags),
        None if ensemble else group,
    )
    if report is not None:
        _give_out(report, html_file, as_json)
    click.get_current_context().exit(0 if passed else REFUSED)


def _give_out(report: "GateReport", html_file: Path | None, as_json: bool) -> None:
    from hvcod.churn.page.gate import page
    from hvcod.cli.churn.verdict import table
    from hvcod.files.whole import write_output

    for warning in report.warnings:
        show(f"warning: {one_line(warning)}", err=True)
    show(json.dumps(report.to_dict()) if as_json else table(report))
    if html_file:
        write_output(html_file, page(report))
