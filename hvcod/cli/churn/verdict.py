"""The result of a gate as tables on the terminal."""

from typing import TYPE_CHECKING

from hvcod.cli.tables import columns

if TYPE_CHECKING:
    from hvcod.churn.gate.report import GateReport


def table(report: "GateReport") -> str:
    """Returns the measures, the verdicts and the answer, which is the last line."""
    from hvcod.churn.gate.tables import models, overall, slices

    short = report.below_folder()
    tables = [models(short), overall(short), slices(short)]
    about = f"{report.rows:,} rows, {report.matched}"
    about += f"; files in {report.folder}" if report.folder else ""
    parts = [about, *(columns(each) for each in tables if each)]
    return "\n\n".join([*parts, report.judged_by, _answer(report)])


def _answer(report: "GateReport") -> str:
    lines = []
    for candidate in report.candidates:
        passes = report.passes(candidate.name)
        lines.append(f"{candidate.name}: {'passes' if passes else 'refused'}")
        lines += [f"  {reason}" for reason in report.reasons(candidate.name)]
    return "\n".join([*lines, report.answer])
