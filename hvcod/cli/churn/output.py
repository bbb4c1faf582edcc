"""The output of the commands of ``hvcod churn``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.options import json_option

if TYPE_CHECKING:
    from hvcod.churn.report import Report


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--csv``, ``--html`` and ``--json``, as `give_out` takes them."""
    file = click.Path(path_type=Path)
    page = click.option(
        "--html",
        "html_file",
        type=file,
        metavar="FILE",
        help="Also write the result as a self-contained HTML page.",
    )
    figures = click.option(
        "--csv",
        "csv_file",
        type=file,
        metavar="FILE",
        help="Also write every figure as a line of this CSV file.",
    )
    return figures(page(json_option(command)))


def give_out(
    report: "Report", csv_file: Path | None, html_file: Path | None, as_json: bool
) -> None:
    """Prints a report, and writes its figures and page to files if they are given."""
    from hvcod.churn.page.page import write_page
    from hvcod.churn.report import write_csv
    from hvcod.cli.churn.table import table

    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(json.dumps(report.to_dict()) if as_json else table(report))
    if csv_file:
        write_csv(report, csv_file)
    if html_file:
        write_page(report, html_file)
