"""Parts of a report as rows of text, for the terminal and for the page; the first row is a head."""

from hvcod.churn.report import Report
from hvcod.churn.statistics import Estimate

Rows = list[list[str]]


def split_rows(report: Report) -> Rows:
    """Returns the churn of methods by its source; no rows without floors."""
    rows = [
        [
            f"{method}: {source}",
            *(
                estimate_text(estimate, ".1%")
                for estimate in (figures.alone, figures.alone_squared, figures.shared)
            ),
        ]
        for method, split in report.sources.items()
        for source, figures in split.items()
        if figures.estimates
    ]
    head = ["source of churn", "churn if it alone differs", "squared differences"]
    return [[*head, "churn removed if it is shared"], *rows] if rows else []


def days_rows(report: Report) -> Rows:
    """Returns the mean churn by the days between the data; no rows without windows."""
    every = report.days_apart
    distances = sorted({days for churns in every.values() for days in churns})
    rows = [
        [
            str(days),
            *(f"{churns[days]:.4f}" if days in churns else "-" for churns in every.values()),
        ]
        for days in distances
    ]
    return [["churn by days apart", *every], *rows] if rows else []


def fragile_rows(report: Report) -> Rows:
    """Returns the rows that flip most often, method by method; no rows unless they are wanted."""
    every = [(method, row) for method, rows in report.fragile.items() for row in rows]
    is_sliced = any(row.slice is not None for _, row in every)
    classes = ["of class"] if report.classes else []
    head = ["flips most often", "id", "label", *(["slice"] if is_sliced else [])]
    rows = [
        [
            method,
            row.id,
            "-" if row.label is None else str(row.label),
            *([row.slice or "-"] if is_sliced else []),
            f"{row.flips:.1%}",
            *([str(row.of_class)] if report.classes else []),
            f"{row.mean:.4f}",
            f"{row.lowest:.4f}",
            f"{row.highest:.4f}",
        ]
        for method, row in every
    ]
    head += ["pairs that flip", *classes, "mean", "lowest", "highest"]
    return [head, *rows] if rows else []


def stable_methods(report: Report) -> str:
    """Returns a line that names the methods of which no row flips, if fragile rows are wanted."""
    names = [name for name, rows in report.fragile.items() if not rows]
    stable = [name for name in names if name in report.with_pairs]
    return f"no row flips: {', '.join(stable)}" if stable else ""


def estimate_text(estimate: Estimate | None, form: str = ".4f") -> str:
    """Returns the mean, half of the range and the interval, as far as there are any."""
    return " ".join(filter(None, (mean_text(estimate, form), interval_text(estimate, form))))


def mean_text(estimate: Estimate | None, form: str = ".4f") -> str:
    """Returns the mean and, if there is one, half of the range; a dash for None."""
    if estimate is None:
        return "-"
    spread = "" if estimate.half_range is None else f" ± {estimate.half_range:{form}}"
    return f"{estimate.mean:{form}}{spread}"


def interval_text(estimate: Estimate | None, form: str = ".4f") -> str:
    """Returns the interval; empty if there is none."""
    if estimate is None or estimate.interval is None:
        return ""
    low, high = estimate.interval
    return f"[{low:{form}}, {high:{form}}]"
