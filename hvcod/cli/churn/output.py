"""The output of the commands of ``hvcod churn``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.options import PATH, json_option, page_option
from hvcod.sections import Section
from hvcod.terminal import one_line, show

if TYPE_CHECKING:
    from hvcod.churn.report import Report


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--csv``, ``--fragile-csv``, ``--html`` and ``--json``, as `give_out` takes them."""
    text = "Also write the rows of --fragile to this CSV file."
    rows = click.option("--fragile-csv", type=PATH, metavar="FILE", help=text)
    text = "Also write every figure as a line of this CSV file."
    figures = click.option("--csv", "csv_file", type=PATH, metavar="FILE", help=text)
    return figures(rows(result_page_option(json_option(command))))


result_page_option = page_option(
    "Also write the result as a self-contained HTML page.", Section.GATE
)
"""Adds ``--html FILE``."""


def give_out(
    report: "Report",
    csv_file: Path | None,
    html_file: Path | None,
    fragile_csv: Path | None,
    as_json: bool,
) -> None:
    """Prints a report, and writes its figures, page and fragile rows to files if they are given.

    Raises:
        HvcodError: A file cannot be written.
    """
    from hvcod.churn.page.page import page
    from hvcod.churn.report import rows_csv, to_csv
    from hvcod.cli.churn.table import table
    from hvcod.files.whole import write_output

    for warning in report.warnings:
        show(f"warning: {one_line(warning)}", err=True)
    show(json.dumps(report.to_dict()) if as_json else table(report))
    for path, render in ((csv_file, to_csv), (html_file, page), (fragile_csv, rows_csv)):
        if path:
            write_output(path, render(report))
