"""A report as tables on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hvcod.cli.tables import columns
from hvcod.units import figure

if TYPE_CHECKING:
    from hvcod.churn.report import Report
    from hvcod.churn.statistics import Estimate

MOST_PAIRS = 10
"""The largest number of pairs that are shown one by one."""


def table(report: "Report") -> str:
    """Returns the report by method, production, source, pair if few, slice, and fragile rows."""
    from hvcod.churn.details import days_rows, fragile_rows, split_rows, stable_methods

    parts = [f"{report.rows:,} rows, {report.matched}", report.note, _methods(report)]
    parts.append(_production(report))
    parts += [columns(rows) for rows in (split_rows(report), days_rows(report)) if rows]
    if sum(len(method.pairs) for method in report.methods.values()) <= MOST_PAIRS:
        parts.append(_pairs(report))
    parts += [_churn_by_slice(report), _loss_by_slice(report)]
    if rows := fragile_rows(report):
        parts.append(columns(rows))
    parts += [f"no row flips: {name}" for name in stable_methods(report)]
    return "\n\n".join(filter(None, parts))


def _methods(report: "Report") -> str:
    head = ["method", "retrains", "log loss", "churn", "independent pairs", "churn reduction"]
    rows = [[*head, "log loss change"]]
    for name, method in report.methods.items():
        estimates, change = report.estimates[name], report.against_first.get(name, {})
        row = [name, str(len(method.models))]
        row += [_estimate(estimates.get(measure)) for measure in ("log_loss", "churn")]
        row.append(_estimate(report.independent[name].get("churn")))
        row.append(_share(change.get("churn_reduction")))
        rows.append([*row, _estimate(change.get("log_loss_difference"))])
    return columns(rows) + "\nmean ± half the range [95% interval]"


def _production(report: "Report") -> str:
    """The retrains of each method against the model in production."""
    if report.production is None:
        return ""
    loss = report.production.log_loss
    about = "" if loss is None else f": log loss {loss:.4f}"
    rows = [["method", "churn", "churn reduction", "other decisions", "good churn", "bad churn"]]
    rows[0].append("log loss change")
    for name, changes in report.against_production.items():
        row = [name, _estimate(changes.get("churn")), _share(changes.get("churn_reduction"))]
        row.append(_share(changes.get("disagreement")))
        measures = ("good_churn", "bad_churn", "log_loss_difference")
        rows.append([*row, *(_estimate(changes.get(measure)) for measure in measures)])
    return f"against production ({report.production.name}{about})\n{columns(rows)}"


def _pairs(report: "Report") -> str:
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
    return columns(lines)


def _churn_by_slice(report: "Report") -> str:
    methods = list(report.with_pairs)
    if not report.slices or not methods:
        return ""
    return columns(
        [
            ["slice", "rows", *(f"churn {name}" for name in methods)],
            *(
                [part, f"{rows:,}", *(_mean(report, name, part, "churn") for name in methods)]
                for part, rows in report.slices.items()
            ),
        ]
    )


def _loss_by_slice(report: "Report") -> str:
    """The log loss of each method, or of each of two files, and the differences."""
    methods = report.methods
    if not any(model.slices for method in methods.values() for model in method.models):
        return ""
    if len(methods) == 1 and len(models := methods[next(iter(methods))].models) == 2:
        head = [*(f"log loss {model.name}" for model in models), "second - first"]
        rows = []
        for part in report.slices:
            old, new = (model.slices[part] for model in models)
            change = None if old is None or new is None else new - old
            rows.append([figure(value, ".4f") for value in (old, new, change)])
    else:
        later = list(report.against_first)
        head = [f"log loss {name}" for name in methods] + [f"change {name}" for name in later]
        rows = [
            [
                *(_mean(report, name, part, "log_loss") for name in methods),
                *(_change(report, name, part) for name in later),
            ]
            for part in report.slices
        ]
    counts = report.slices.items()
    lines = [[part, f"{n:,}", *row] for (part, n), row in zip(counts, rows, strict=True)]
    return columns([["slice", "rows", *head], *lines])


def _mean(report: "Report", method: str, part: str, measure: str) -> str:
    return figure(report.by_slice[method][part].means[measure], ".4f")


def _change(report: "Report", method: str, part: str) -> str:
    return _estimate(report.by_slice[method][part].against_first.get("log_loss_difference"))


def _estimate(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "-"
    spread = "" if estimate.half_range is None else f" ± {estimate.half_range:.4f}"
    return f"{estimate.mean:.4f}{spread}{_interval(estimate.interval, '.4f')}"


def _share(estimate: "Estimate | None") -> str:
    return "-" if estimate is None else f"{estimate.mean:.1%}{_interval(estimate.interval, '.1%')}"


def _interval(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
