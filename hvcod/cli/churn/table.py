"""A report as tables on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hvcod.cli.tables import columns, figure

if TYPE_CHECKING:
    from hvcod.churn.report import Report
    from hvcod.churn.statistics import Estimate

MOST_PAIRS = 10
"""The largest number of pairs that are shown one by one."""


def table(report: "Report") -> str:
    """Returns the report by method, by pair if there are few, and by slice."""
    parts = [f"{report.rows:,} rows, {report.matched}", _methods(report)]
    if sum(len(method.pairs) for method in report.methods.values()) <= MOST_PAIRS:
        parts.append(_pairs(report))
    if slices := _slices(report):
        parts.append(slices)
    return "\n\n".join(parts)


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


def _slices(report: "Report") -> str:
    from hvcod.churn.report import slice_means

    means = {name: slice_means(method) for name, method in report.with_pairs.items()}
    rows = [
        [
            part,
            f"{figures['rows']:,}",
            *(figure(parts[part]["churn"], ".4f") for parts in means.values()),
        ]
        for part, figures in next(iter(means.values()), {}).items()
    ]
    return columns([["slice", "rows", *(f"churn {name}" for name in means)], *rows]) if rows else ""


def _estimate(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "-"
    spread = "" if estimate.half_range is None else f" ± {estimate.half_range:.4f}"
    return f"{estimate.mean:.4f}{spread}{_interval(estimate.interval, '.4f')}"


def _share(estimate: "Estimate | None") -> str:
    return "-" if estimate is None else f"{estimate.mean:.1%}{_interval(estimate.interval, '.1%')}"


def _interval(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
