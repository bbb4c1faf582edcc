"""The pictures of the page, each as inline SVG."""

from collections.abc import Sequence

import numpy as np

from hvcod.churn.measures.comparison import DENSITY_BINS, MethodFigures
from hvcod.churn.measures.differences import Differences
from hvcod.churn.measures.pair import PairFigures
from hvcod.churn.report import Report
from hvcod.churn.statistics import Estimate
from hvcod.pages.plot import BOTTOM, TOP, WIDTH, Plot, colour, shortened

BARS = 50
SLICE_HEIGHT = 16
"""Height of the bar of a slice, in pixels."""


def trade_off(report: Report, against: str = "churn") -> str | None:
    """Draws log loss against churn, with intervals (half the range where there are none).

    Args:
        against: ``churn`` between the retrains of a method, or ``churn against production``.
    """
    churn_of = report.estimates if against == "churn" else report.against_production
    points = [
        (name, churn, report.estimates[name]["log_loss"])
        for name in report.in_pictures
        if (found := churn_of.get(name, {}))
        and (churn := found.get("churn"))
        and "log_loss" in report.estimates[name]
    ]
    if not points:
        return None
    churns = [value for _, churn, _ in points for value in _span(churn)]
    losses = [value for _, _, loss in points for value in _span(loss)]
    plot = Plot((*_with_margins(churns), against), (*_with_margins(losses), "log loss, nats"))
    for name, churn, loss in points:
        x, y, shown = churn.mean, loss.mean, colour_of(report, name)
        plot.line([(end, y) for end in _span(churn)], shown)
        plot.line([(x, end) for end in _span(loss)], shown)
        plot.point(x, y, shown, f"{name}: churn {x:.4f}, log loss {y:.4f}")
        plot.label(x, y, name)
    return plot.svg(f"log loss against {against}")


def histogram(report: Report) -> str | None:
    """Draws the distribution of the absolute differences of each method over all its pairs.

    Methods whose retrains are all equal are left out, because their single bar would dwarf all
    others.
    """
    pairs_of = {
        name: method.pairs
        for name, method in report.with_pairs.items()
        if name in report.in_pictures and any(pair.quantiles["1"] for pair in method.pairs)
    }
    if not pairs_of:
        return None
    largest = max(pair.quantiles["0.999"] for pairs in pairs_of.values() for pair in pairs) or 1.0
    edges = np.linspace(0, largest, BARS + 1)
    shares = {name: _together(pairs).shares(edges) for name, pairs in pairs_of.items()}
    top = max(float(heights.max()) for heights in shares.values())
    plot = Plot((0, largest, "absolute difference"), (0, top * 1.05, "share of the rows"))
    for name, heights in shares.items():
        steps = []
        for low, high, share in zip(edges, edges[1:], heights, strict=False):
            text = f"{name}: {share:.2%} of the rows differ by {low:.3g} to {high:.3g}"
            plot.box((low, 0, high, share), colour_of(report, name), text, 0.25)
            steps += [(low, share), (high, share)]
        plot.line(steps, colour_of(report, name), 1.5)
    return plot.svg("histogram of the absolute differences")


def scatter(method: MethodFigures, fill: str) -> str | None:
    """Draws the predictions of two retrains against each other, as a density of the rows."""
    if method.density is None or not method.pairs:
        return None
    rows, columns = np.nonzero(method.density)
    end = (int(max(rows.max(), columns.max())) + 1) / DENSITY_BINS
    pair = method.pairs[0]
    across, up = shortened(pair.first, 60), shortened(pair.second, 60)
    plot = Plot((0, end, across), (0, end, up), height=WIDTH - 40)
    most = np.log1p(method.density.max())
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        count = int(method.density[row, column])
        corners = (row, column, row + 1, column + 1)
        x0, y0, x1, y1 = (corner / DENSITY_BINS for corner in corners)
        shade = 0.08 + 0.92 * float(np.log1p(count) / most)
        plot.box((x0, y0, x1, y1), fill, f"{count:,} rows", shade)
    plot.line([(0, 0), (end, end)], "var(--text)", 0.7)
    return plot.svg("predictions of two retrains")


def by_slice(report: Report) -> str | None:
    """Draws the mean churn of each slice, with a bar for each method."""
    names = list(report.slices)
    churns = {
        method: [report.by_slice[method][name].means["churn"] or 0.0 for name in names]
        for method in report.with_pairs
        if method in report.in_pictures
    }
    if not names or not churns:
        return None
    top = max(max(values) for values in churns.values()) or 1.0
    height = TOP + BOTTOM + len(names) * (len(churns) * SLICE_HEIGHT + 10)
    plot = Plot((0, top * 1.05, "churn"), (0, len(names), ""), height, left=175)
    for number, (method, values) in enumerate(churns.items()):
        for index, (name, value) in enumerate(zip(names, values, strict=True)):
            top_edge = len(names) - index - 0.1 - number * 0.8 / len(churns)
            corners = (0, top_edge - 0.8 / len(churns) + 0.02, value, top_edge)
            plot.box(corners, colour_of(report, method), f"{method}, {name}: {value:.4f}")
    return plot.svg("churn by slice", [shortened(name) for name in names])


def colour_of(report: Report, method: str) -> str:
    """Returns the colour of a method, the same everywhere; grey if no picture shows it."""
    shown = report.in_pictures
    return colour(shown.index(method)) if method in shown else "var(--line)"


def _together(pairs: Sequence[PairFigures]) -> Differences:
    merged = Differences()
    for pair in pairs:
        merged.merge(pair.differences)
    return merged


def _span(estimate: Estimate) -> tuple[float, float]:
    if estimate.interval:
        return estimate.interval
    reach = estimate.half_range or 0.0
    return estimate.mean - reach, estimate.mean + reach


def _with_margins(values: list[float]) -> tuple[float, float]:
    """The range of an axis, with a margin on both sides."""
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) or 0.05 * abs(high) or 0.01
    return low - margin, high + margin
