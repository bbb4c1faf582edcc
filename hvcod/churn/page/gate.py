"""The page of a gate: the answer, the verdicts, and every measure with its interval and limit."""

from collections.abc import Iterator, Sequence

from hvcod import __version__
from hvcod.churn.gate import tables
from hvcod.churn.gate.judging import Limit
from hvcod.churn.gate.measures import MEASURES, SHOWN, Candidate, Compared, Figure
from hvcod.churn.gate.report import GateReport
from hvcod.pages.document import Block, Bullets, Heading, Paragraph, Picture, Table, html
from hvcod.pages.plot import BOTTOM, TOP, Plot, colour, colour_name, shortened

MOST_SLICES = 60
"""The largest number of slices that a picture shows."""

_ROW = 14
"""The height of an interval, in pixels."""
_LIMIT = "var(--bad)"


def page(report: GateReport) -> str:
    """Returns the page as HTML."""
    return html("Retrain gate", list(_blocks(report.below_folder(), report.folder)))


def _blocks(report: GateReport, folder: str) -> Iterator[Block]:
    yield Heading(f"Retrain gate: {'passed' if report.passed else 'refused'}", 1)
    yield Paragraph(report.answer)
    yield Bullets([line for name in report.judgements for line in _outcome(report, name)])
    yield Paragraph(report.judged_by)
    kind = f"{report.classes} classes" if report.classes else f"decided at {report.threshold:g}"
    below = f" Files in {folder}." if folder else ""
    yield Paragraph(f"{report.rows:,} rows, {report.matched}; {kind}.{below}")
    if report.warnings:
        yield Bullets([("Warning:", text) for text in report.warnings])
    yield Heading("All rows")
    yield from _table(tables.overall(report))
    yield from _table(tables.models(report))
    for measure in MEASURES:
        if (picture := _picture(report, measure)) is not None:
            yield picture
    if report.slices:
        yield Heading("Slices")
        yield from _table(tables.slices(report))
    yield Paragraph(f"hvcod {__version__}")


def _outcome(report: GateReport, candidate: str) -> Iterator[tuple[str, str]]:
    yield candidate, "passes." if report.passes(candidate) else "is refused."
    for reason in report.reasons(candidate):
        yield f"{candidate}:", f"{reason}."


def _table(rows: tables.Rows) -> Iterator[Table]:
    if rows:
        yield Table(rows[0], rows[1:])


def _picture(report: GateReport, measure: str) -> Picture | None:
    """Draws a measure of all candidates over all rows and by slice, with its limits."""
    parts: list[str | None] = [None, *list(report.slices)[:MOST_SLICES]]
    figures = [[_figure(each, part, measure) for each in report.candidates] for part in parts]
    known = [each for row in figures for each in row if each.estimate is not None]
    if not known:
        return None
    limits = [each for each in report.limits if each.measure == measure]
    plot = _empty(measure, known, limits, len(parts), len(report.candidates))
    for index, row in enumerate(figures):
        for number, figure in enumerate(row):
            height = len(parts) - index - (number + 0.5) / len(row)
            _draw(plot, figure, height, number, report.candidates[number].name)
    for limit in limits:
        ends = (0, len(parts) - 1) if limit.by_slice else (len(parts) - 1, len(parts))
        plot.line([(limit.value, end) for end in ends], _LIMIT, 2)
    names = ["all rows", *(shortened(part) for part in parts[1:] if part is not None)]
    svg = plot.svg(f"{measure} and its intervals", names)
    more = len(report.slices) - MOST_SLICES
    words = SHOWN[measure]
    keys = [f"{colour_name(number)}: {name}" for number, name in enumerate(report.judgements)]
    keys += ["red: the limits"] * bool(limits)
    caption = f"{words[0].upper()}{words[1:]}, with intervals; {', '.join(keys)}."
    caption += f" The first {MOST_SLICES} slices; the table has {more} more." if more > 0 else ""
    return Picture(f"{measure}.svg", svg, f"{measure} and its intervals", caption)


def _empty(
    measure: str, known: Sequence[Figure], limits: Sequence[Limit], rows: int, candidates: int
) -> Plot:
    ends = [end for each in known for end in (each.interval or (each.estimate or 0.0,))]
    ends += [limit.value for limit in limits]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.01
    low = low - margin if measure == "gain" else max(0.0, low - margin)
    height = TOP + BOTTOM + rows * (candidates * _ROW + 8)
    return Plot((low, high + margin, SHOWN[measure]), (0, rows, ""), height, left=175)


def _draw(plot: Plot, figure: Figure, height: float, number: int, name: str) -> None:
    if figure.estimate is None:
        return
    if figure.interval:
        plot.line([(end, height) for end in figure.interval], colour(number))
    shown = f"{name}: {figure.estimate:.5f} {tables.interval(figure)}"
    plot.point(figure.estimate, height, colour(number), shown)


def _figure(candidate: Candidate, part: str | None, measure: str) -> Figure:
    compared: Compared = candidate.overall if part is None else candidate.slices[part]
    figure: Figure = getattr(compared, measure)
    return figure
