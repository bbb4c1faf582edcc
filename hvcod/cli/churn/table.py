"""A report as tables on the terminal."""

from collections.abc import Collection, Sequence

from hvcod.churn.details import (
    Rows,
    days_rows,
    estimate_text,
    fragile_rows,
    interval_text,
    mean_text,
    split_rows,
    stable_methods,
)
from hvcod.churn.report import Report
from hvcod.churn.statistics import FEWEST, Estimate
from hvcod.cli.tables import fitting
from hvcod.units import counted, figure

MOST_PAIRS = 10
"""The largest number of pairs that are shown one by one."""


def table(report: Report) -> str:
    """Returns the report by method, production, source, pair if few, slice, and fragile rows."""
    parts = [f"{report.rows:,} rows, {report.matched}", report.note, _methods(report)]
    parts.append(_production(report))
    parts += [fitting(rows) for rows in (split_rows(report), days_rows(report))]
    if sum(len(method.pairs) for method in report.methods.values()) <= MOST_PAIRS:
        parts.append(_pairs(report))
    parts += [fitting(_churn_by_slice(report), 2), fitting(_loss_by_slice(report), 2)]
    parts += [fitting(_change_by_slice(report), 2), fitting(fragile_rows(report))]
    parts.append(stable_methods(report))
    return "\n\n".join(filter(None, parts))


def _methods(report: Report) -> str:
    rows = [["method", "log loss", "churn", "independent pairs", "churn reduction"]]
    rows[0].append("log loss change")
    for name, method in report.methods.items():
        estimates, change = report.estimates[name], report.against_first.get(name, {})
        figures = [
            estimates.get("log_loss"),
            estimates.get("churn"),
            report.independent[name].get("churn"),
            change.get("churn_reduction"),
            change.get("log_loss_difference"),
        ]
        rows += _two_lines(name, counted(len(method.models), "retrain"), figures, shares=(3,))
    caption = "mean ± half the range, and below it the 95% interval"
    churns = [report.estimates[name]["churn"] for name in report.with_pairs]
    if churns and not any(churn.interval for churn in churns):
        caption += f"; churn has one from {FEWEST} retrains on"
    return f"{fitting(rows)}\n{caption}"


def _production(report: Report) -> str:
    """The retrains of each method against the model in production."""
    if report.production is None:
        return ""
    loss = report.production.log_loss
    about = "" if loss is None else f": log loss {loss:.4f}"
    rows = [["method", "churn", "churn reduction", "other decisions", "good churn", "bad churn"]]
    rows[0].append("log loss change")
    measures = ("churn", "churn_reduction", "disagreement", "good_churn", "bad_churn")
    for name, changes in report.against_production.items():
        figures = [changes.get(measure) for measure in (*measures, "log_loss_difference")]
        rows += _two_lines(name, "", figures, shares=(1, 2, 3, 4))
    return f"against production ({report.production.name}{about})\n{fitting(rows)}"


def _two_lines(
    name: str, note: str, figures: Sequence[Estimate | None], shares: Collection[int]
) -> list[list[str]]:
    """The row of a method, and below it a row of intervals; some figures are shares."""
    forms = [".1%" if number in shares else ".4f" for number in range(len(figures))]
    return [[name, *map(mean_text, figures, forms)], [note, *map(interval_text, figures, forms)]]


def _pairs(report: Report) -> str:
    pairs = [pair for method in report.methods.values() for pair in method.pairs]
    lines = [["", *(f"{pair.first} | {pair.second}" for pair in pairs)]]
    decision = "top class" if report.classes else f"decision at {report.threshold:g}"
    figures: list[tuple[str, list[float | None]]] = [
        ("churn (mean absolute difference)", [pair.overall.churn for pair in pairs]),
        ("  median", [pair.quantiles["0.5"] for pair in pairs]),
        ("  99th percentile", [pair.quantiles["0.99"] for pair in pairs]),
        ("  largest", [pair.quantiles["1"] for pair in pairs]),
        ("rank correlation", [pair.rank_correlation for pair in pairs]),
        (f"different {decision}", [pair.overall.disagreement for pair in pairs]),
        ("good churn (wrong to right)", [pair.overall.good_churn for pair in pairs]),
        ("bad churn (right to wrong)", [pair.overall.bad_churn for pair in pairs]),
        ("good / bad", [pair.overall.churn_ratio for pair in pairs]),
        ("log loss, second - first", [pair.log_loss_difference for pair in pairs]),
        ("calibration, second - first", [pair.calibration_difference for pair in pairs]),
    ]
    for name, row in figures:
        if row != [None] * len(row):
            lines.append([name, *(figure(value, ".4f") for value in row)])
    return fitting(lines)


def _churn_by_slice(report: Report) -> Rows:
    methods = list(report.with_pairs)
    if not report.slices or not methods:
        return []
    return [
        ["churn by slice", "rows", *methods],
        *(
            [part, f"{rows:,}", *(_mean(report, name, part, "churn") for name in methods)]
            for part, rows in report.slices.items()
        ),
    ]


def _loss_by_slice(report: Report) -> Rows:
    """The log loss of each method, or of each of two files and their difference."""
    methods = report.methods
    if not any(model.slices for method in methods.values() for model in method.models):
        return []
    head, rows = ["log loss by slice", "rows"], []
    if two := len(methods) == 1 and len(models := methods[next(iter(methods))].models) == 2:
        head += ["first", "second", "second - first"]
    else:
        head += methods
    for part, count in report.slices.items():
        if two:
            old, new = (model.slices[part] for model in models)
            change = None if old is None or new is None else new - old
            losses = [figure(value, ".4f") for value in (old, new, change)]
        else:
            losses = [_mean(report, name, part, "log_loss") for name in methods]
        rows.append([part, f"{count:,}", *losses])
    return [head, *rows]


def _change_by_slice(report: Report) -> Rows:
    """The differences of the log loss to the first method."""
    changes = {
        name: [slices[part].against_first.get("log_loss_difference") for part in report.slices]
        for name, slices in report.by_slice.items()
        if name in report.against_first
    }
    if not any(map(any, changes.values())):
        return []
    rows = [
        [part, f"{count:,}", *map(estimate_text, estimates)]
        for (part, count), *estimates in zip(report.slices.items(), *changes.values(), strict=True)
    ]
    return [["log loss change by slice", "rows", *changes], *rows]


def _mean(report: Report, method: str, part: str, measure: str) -> str:
    return figure(report.by_slice[method][part].means[measure], ".4f")
