"""The page itself: tables and pictures in one file of HTML."""

from collections.abc import Iterator, Sequence
from html import escape

from hvcod import __version__
from hvcod.churn.details import days_rows, fragile_rows, split_rows, stable_methods
from hvcod.churn.page import charts
from hvcod.churn.production import OF_BOTH
from hvcod.churn.report import OF_RETRAINS, Report
from hvcod.churn.sliced import OF_PAIRS
from hvcod.churn.statistics import Estimate
from hvcod.pages.frame import html_page, key, picture, table
from hvcod.units import figure

MOST_PAIRS = 100
"""The largest number of pairs that the page lists one by one."""


def page(report: Report) -> str:
    """Returns the page as HTML."""
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in report.warnings)
    kind = f"{report.classes} classes" if report.classes else f"decided at {report.threshold:g}"
    return html_page(
        "Prediction churn",
        f"<h1>Prediction churn</h1><p>{report.rows:,} rows, "
        f"{escape(str(report.matched))}; {kind}. Means over retrains or over "
        "all pairs of them (good and bad churn: over independent pairs) ± half the range "
        f"[95% interval].</p>{_paragraph(report.note)}"
        f"{warnings}{_methods(report)}{_production(report)}"
        f"{_plain(split_rows(report))}{_plain(days_rows(report))}"
        f'<div class="pictures">{"".join(_pictures(report))}</div>'
        f"{_slices(report)}{_plain(fragile_rows(report))}"
        f"{_paragraph(stable_methods(report))}"
        f"{_pairs(report)}<p>hvcod {escape(__version__)}</p>",
    )


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _plain(rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text; its first row is the head."""
    if not rows:
        return ""
    head, *others = ([escape(cell) for cell in row] for row in rows)
    return table(head, others)


def _methods(report: Report) -> str:
    measures = [
        measure
        for measure in (*OF_RETRAINS, *OF_PAIRS, "rank_correlation")
        if any(measure in estimates for estimates in report.estimates.values())
    ]
    columns = [_key(report, name) for name in report.methods]
    rows = [["retrains", *(str(len(method.models)) for method in report.methods.values())]]
    for measure in measures:
        values = (estimates.get(measure) for estimates in report.estimates.values())
        rows.append([measure.replace("_", " "), *map(_estimate, values)])
        if measure == "churn":
            pairs = (estimates.get(measure) for estimates in report.independent.values())
            rows.append(["churn, independent pairs", *map(_estimate, pairs)])
    for measure, name in (
        ("churn_reduction", "churn reduction against the first"),
        ("log_loss_difference", "log loss change against the first"),
    ):
        changes = [report.against_first.get(method, {}).get(measure) for method in report.methods]
        if any(changes):
            rows.append([name, *map(_estimate, changes)])
    return table(["", *columns], rows)


def _production(report: Report) -> str:
    """The retrains of each method against the model in production."""
    if report.production is None:
        return ""
    changes = report.against_production
    rows = [
        [measure.replace("_", " "), *(_estimate(found.get(measure)) for found in changes.values())]
        for measure in (*OF_PAIRS, *OF_BOTH, "churn_reduction")
        if any(found.get(measure) for found in changes.values())
    ]
    columns = [_key(report, name) for name in report.methods]
    loss = report.production.log_loss
    about = "" if loss is None else f", log loss {loss:.4f}"
    return (
        f"<h2>Against production</h2><p>{escape(report.production.name)}{about}. Means over the "
        "retrains; production is the old model of each pair, and differences are from it to the "
        f"retrain.</p>{table(['', *columns], rows)}"
    )


def _pictures(report: Report) -> Iterator[str]:
    names = report.in_pictures
    keys = " ".join(_key(report, name) for name in names)
    if len(names) < len(report.methods):
        keys += "<br>Methods that share a source of churn are in the tables only."
    yield from _picture("Log loss against churn", charts.trade_off(report), keys)
    of_production = charts.trade_off(report, "churn against production")
    yield from _picture("Log loss, and churn against production", of_production, keys)
    yield from _picture(
        "Absolute differences",
        charts.histogram(report),
        f"{keys}<br>Of all pairs; the largest 0.1% are off the right edge.",
    )
    yield from _picture(
        "Churn by slice", charts.by_slice(report), f"{keys}<br>Mean over all pairs."
    )
    note = "Stronger: more rows, on a logarithmic scale. On the line both predictions are equal."
    for name in names:
        drawn = charts.scatter(report.methods[name], charts.colour_of(report, name))
        yield from _picture(f"Two retrains: {name}", drawn, note)


def _picture(title: str, svg: str | None, note: str) -> Iterator[str]:
    if svg is not None:
        yield picture(title, svg, note)


def _slices(report: Report) -> str:
    """The log loss by slice; the churn by slice is a picture."""
    names = list(report.methods)
    later = [
        name for name in names if report.against_first.get(name, {}).get("log_loss_difference")
    ]
    rows = [
        [
            escape(part),
            f"{count:,}",
            *(figure(report.by_slice[name][part].means["log_loss"], ".4f") for name in names),
            *(
                _estimate(report.by_slice[name][part].against_first.get("log_loss_difference"))
                for name in later
            ),
        ]
        for part, count in report.slices.items()
    ]
    labelled = any("log_loss" in estimates for estimates in report.estimates.values())
    if not rows or not labelled:
        return ""
    losses = [f"log loss<br>{_key(report, name)}" for name in names]
    head = [f"change<br>{_key(report, name)}" for name in later]
    return table(["slice", "rows", *losses, *head], rows)


def _pairs(report: Report) -> str:
    pairs = [pair for method in report.methods.values() for pair in method.pairs]
    rows = [
        [
            f"{escape(pair.first)} | {escape(pair.second)}",
            *(figure(getattr(pair.overall, measure), ".4f") for measure in OF_PAIRS),
            figure(pair.rank_correlation, ".4f"),
            *(figure(pair.quantiles[share], ".4f") for share in ("0.5", "0.99", "1")),
        ]
        for pair in pairs[:MOST_PAIRS]
    ]
    names = [measure.replace("_", " ") for measure in OF_PAIRS]
    more = f"<p>{len(pairs) - MOST_PAIRS} more pairs</p>" if len(pairs) > MOST_PAIRS else ""
    return table(["pair", *names, "rank correlation", "median", "99%", "largest"], rows) + more


def _key(report: Report, name: str) -> str:
    return f"{key(charts.colour_of(report, name))}{escape(name)}"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    spread = "" if estimate.half_range is None else f" ± {estimate.half_range:.4f}"
    if estimate.interval is None:
        return f"{estimate.mean:.4f}{spread}"
    low, high = estimate.interval
    return f"{estimate.mean:.4f}{spread}<br><small>[{low:.4f}, {high:.4f}]</small>"
