"""The output of the commands of ``hvcod churn``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.options import PATH, json_option
from hvcod.cli.sectioned import option_of
from hvcod.errors import HvcodError, reason_of
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
    return figures(rows(page_option(json_option(command))))


def page_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--html``."""
    text = "Also write the result as a self-contained HTML page."
    page = option_of(Section.GATE, "--html", "html_file", type=PATH, metavar="FILE", help=text)
    return page(command)


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

    for warning in report.warnings:
        show(f"warning: {one_line(warning)}", err=True)
    show(json.dumps(report.to_dict()) if as_json else table(report))
    for path, render in ((csv_file, to_csv), (html_file, page), (fragile_csv, rows_csv)):
        if path:
            give_file(path, render(report))


def give_file(path: Path, text: str) -> None:
    """Writes a file that the user asked for.

    Raises:
        HvcodError: It cannot be written.
    """
    from hvcod.files.whole import write_output

    try:
        # Names of files need not be UTF-8.
        write_output(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error
