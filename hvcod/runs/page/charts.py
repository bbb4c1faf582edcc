"""The plots of a page of runs, each as inline SVG: cheap to draw, without matplotlib."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hvcod.pages.plot import Plot, colour, shortened
from hvcod.runs.curves import GroupCurves
from hvcod.runs.panels import Axis, Line, Panel, Series, axis_of, panels
from hvcod.runs.times import LEAST, means
from hvcod.units import figure

HEIGHT = 300
"""Of a plot of curves, in pixels."""

MOST_POINTS, MOST_OF_ALL = 500, 50_000
"""Points of a line, and about those of all lines of a page; of more only the extremes are drawn."""

MOST_LINES = 1000
"""Lines of a panel: of 256 groups that all teach each other there are 65,280."""

NAMED = 8
"""The largest number of groups that are named at the end of their lines."""

_EQUAL, _TINY = 1e-9, 1e-100
"""Figures that differ by a smaller share are drawn as if they were equal; smaller ones as zero."""

MOST_BARS = 24
"""Bars of a plot of times."""

_BAR, _LEFT, _CHARACTER = 40, 72, 9.5  # pixels, as wide as letters are on a phone

PARTS = {
    "data": 4,
    "forward": 0,
    "teachers": 1,
    "backward": 5,
    "allreduce": 2,
    "update": 3,
    "exchange": 6,
}
"""{part of a step: the number of its colour}; the others are grey."""


def series_of(groups: Sequence[tuple[str, GroupCurves]], over: str) -> list[Series]:
    """Returns groups with their names as `curves` takes them. Raises HvcodError as `axis_of`."""
    axis = axis_of([curves for _, curves in groups], over)
    return [Series(name, curves, number, axis) for number, (name, curves) in enumerate(groups)]


def curves(series: Sequence[Series], per_step: bool) -> list[tuple[Panel, str, str]]:
    """Returns the panels for which some group has figures, the plot of each, and a note on it."""
    found = [panel for panel in panels(series, per_step) if panel.lines]
    drawn = [replace(each, lines=_some(each.lines)) for each in found]
    most = max(40, min(MOST_POINTS, MOST_OF_ALL // max(1, sum(len(each.lines) for each in drawn))))
    end = max(_last(line) for panel in found for line in panel.lines) if found else 0.0
    across = (0.0, end if end > _TINY else 1.0)
    return [
        (panel, _plot(each, series, across, most), _left_out(len(each.lines), len(panel.lines)))
        for panel, each in zip(found, drawn, strict=True)
    ]


def _some(lines: Sequence[Line]) -> Sequence[Line]:
    """Returns at most `MOST_LINES` of some lines, of all groups alike."""
    return lines[:: math.ceil(len(lines) / MOST_LINES)]


def _left_out(drawn: int, lines: int) -> str:
    return "" if drawn == lines else f"{drawn:,} of {lines:,} lines."


def _last(line: Line) -> float:
    """The place at which a line ends; 0 if none of its points has one."""
    known = line.where[np.isfinite(line.where)]
    return float(known.max(initial=0.0))


def _plot(panel: Panel, series: Sequence[Series], across: tuple[float, float], most: int) -> str:
    axis = series[0].axis
    named = 1 < len(series) <= NAMED
    plot = Plot(
        (*across, axis.label),
        (*_range(panel), ""),
        HEIGHT,
        left=_LEFT,
        right_margin=24 if named else 12,
        logarithmic=panel.logarithmic,
        forms=(_short, panel.form),
        clipped=True,
    )
    for number, where in panel.first_teachers:
        if np.isfinite(where):
            title = f"{series[number].name}: first teacher at {_at(where, axis)}"
            ends = [(where, end) for end in plot.y[:2]]
            plot.line(ends, colour(number), 1, dashes=(2, 3), opacity=0.7, title=title)
    for line in panel.lines:
        _draw(plot, line, series[line.series].name, panel, axis, most)
    if named:
        plot.at_end(_ends(panel, plot))
    return plot.svg(panel.label.replace("\n", " "))


def _draw(plot: Plot, line: Line, name: str, panel: Panel, axis: Axis, most: int) -> None:
    points = [point for point in thinned(line, most) if not panel.logarithmic or point[1] > _TINY]
    if points:
        where, value = points[-1]
        title = f"{name}: {line.kind}, at last {panel.form(value)} at {_at(where, axis)}"
        look, stroke = line.look, colour(line.series)
        width, dashes, opacity = 1.5 * look.width, look.dashes, look.opacity
        plot.line(points, stroke, width, dashes=dashes, opacity=opacity, title=title)


def _ends(panel: Panel, plot: Plot) -> list[tuple[float, str, str]]:
    """The number of each group at the end of its first line that counts most."""
    last: dict[int, float] = {}
    for line in sorted(panel.lines, key=lambda line: not line.look.marked):
        value = float(line.values[-1])
        if not plot.logarithmic or value > _TINY:
            last.setdefault(line.series, value)
    return [(value, str(number), colour(number)) for number, value in last.items()]


def thinned(line: Line, most: int) -> list[tuple[float, float]]:
    """Returns the points of a line; of one with more than `most`, the extremes of its pieces."""
    known = np.isfinite(line.where)
    where, values = line.where[known], line.values[known]
    if len(values) > most:
        kept = []
        for piece in np.array_split(np.arange(len(values)), most // 2):
            kept += sorted({piece[values[piece].argmin()], piece[values[piece].argmax()]})
        kept = sorted({0, *kept, len(values) - 1})
        where, values = where[kept], values[kept]
    return list(zip(where.tolist(), values.tolist(), strict=True))


def _range(panel: Panel) -> tuple[float, float]:
    """The range of the vertical axis."""
    values = np.concatenate([line.values for line in panel.lines])
    if panel.logarithmic:
        values = values[values > _TINY]
        return (float(values.min()) / 1.3, float(values.max()) * 1.3) if len(values) else (0.1, 1)
    low, high = panel.limits or (float(values.min()), float(values.max()))
    if panel.from_zero:
        low, high = min(0.0, low), max(0.0, high)
    scale = max(abs(low), abs(high))
    if high - low <= _EQUAL * scale or scale < _TINY:
        pad = 0.05 * scale if scale >= _TINY else 0.5
    else:
        pad = 0.0 if panel.limits else 0.06 * (high - low)
    # Nothing negative is hinted at where there is none.
    return max(0.0, low - pad) if low >= 0 else low - pad, high + pad


def _short(number: float) -> str:
    """Returns a number of steps, examples or time with few letters."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= factor:
            return f"{number / (1000 if letter == 'k' else factor):g}{letter}"
    return f"{number:g}"


def _at(where: float, axis: Axis) -> str:
    return f"{axis.label} {where:g}" if axis.over == "steps" else f"{where:.3g} {axis.label}"


def bars(parts: Mapping[str, Mapping[str, float]]) -> str:
    """Draws {name of a group: {part of a step: milliseconds}} as stacked bars."""
    shown = dict(list(parts.items())[:MOST_BARS])
    longest = max(_TINY, *(sum(taken.values()) for taken in shown.values()))
    names = [shortened(name) for name in shown]
    left = round(16 + _CHARACTER * max(map(len, names)))
    height = 60 + _BAR * len(shown)
    axes = (0, longest * 1.02, "milliseconds a step"), (0, len(shown), "")
    plot = Plot(*axes, height, left=left)
    for row, (name, taken) in enumerate(shown.items()):
        bottom, start = len(shown) - row - 0.85, 0.0
        total = sum(taken.values())
        for part, each in taken.items():
            corners = (start, bottom, start + each, bottom + 0.7)
            share = f"{each / total:.0%}" if total else ""
            fill, opacity = look_of(part)
            plot.box(corners, fill, f"{name}: {part}, {figure(each, '.3g')} ms, {share}", opacity)
            if each > LEAST * longest:
                plot.inside((start + each / 2, bottom + 0.35), share)
            start += each
    return plot.svg("the time of a step by its parts", names)


def look_of(part: str) -> tuple[str, float]:
    """Returns the colour and the opacity of a part of a step."""
    if part in PARTS:
        return colour(PARTS[part]), 1.0
    return "var(--axis)", 1.0 if part == "agreement" else 0.4


def times_of(groups: Sequence[tuple[str, GroupCurves]]) -> dict[str, dict[str, float]]:
    """Returns {name of a group: {part of a step: mean milliseconds}}."""
    found = {name: means(curves) for name, curves in groups}
    return {
        name: {part: max(0.0, taken) for part, taken in parts.items()}
        for name, parts in found.items()
        if parts
    }
