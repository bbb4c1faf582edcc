"""The kinds of panels: learning curves, best values, steps over workers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hvcod.experiments.base import Panel
from hvcod.experiments.measuring.measured import Measured
from hvcod.experiments.measuring.readings import at
from hvcod.experiments.measuring.results import Scored, mean_and_range
from hvcod.experiments.page.styles import Style
from hvcod.runs.levels import first_reached

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]
Looks = Mapping[str, Style]

OVER = {
    "steps": "step",
    "examples": "examples, of all groups together",
    "seconds": "training time, workers side by side (s)",
    "bytes": "bytes exchanged, of all workers together",
}
"""{axis of a panel: its label}."""

EARLY = 0.25
"""The first share of a curve, whose high losses may lie above the upper edge of a panel."""


def curves(axes: "Axes", measured: Measured, panel: Panel, looks: Looks) -> None:
    """Draws the smoothed curves: a line for the mean, a band for the range over seeds."""
    left_out = [name for name in panel.arms if not _line(axes, measured, panel, name, looks)]
    _level(axes, measured, panel)
    _limits(axes, measured, panel)
    _horizontal(axes, panel.over, [measured.arms[name].label for name in left_out])
    axes.set_ylabel(metric_label(measured))


def _horizontal(axes: "Axes", over: str, left_out: Sequence[str]) -> None:
    """Labels the horizontal axis, with the arms that exchange no bytes."""
    from matplotlib.ticker import EngFormatter

    if over == "bytes":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter("B"))
    else:
        axes.set_xlim(left=0)
    if over == "examples":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    none = f"\n(none: {', '.join(left_out)})" if left_out else ""
    axes.set_xlabel(f"{OVER[over]}{none}")


def _line(axes: "Axes", measured: Measured, panel: Panel, name: str, looks: Looks) -> bool:
    """Draws an arm; returns False if it has no place on the axis."""
    scored = measured.scored(name, panel.weights)
    mean, low, high = mean_and_range([seed.curve for seed in scored.seeds.values()])
    x, look = along(measured, scored, panel.over, mean.steps.tolist()), looks[name]
    if not x.any():
        return False
    every = max(1, len(x) // 6)
    first = list(looks).index(name) % every
    sign = scored.sign
    axes.plot(x, sign * mean.values, **look.of_line, markevery=(first, every), zorder=3)
    band: dict[str, Any] = {"color": look.color, "alpha": 0.18, "linewidth": 0}
    axes.fill_between(x, sign * low.values, sign * high.values, **band)
    return True


def along(measured: Measured, scored: Scored, over: str, steps: Sequence[float]) -> Floats:
    """Returns the quantity of an axis at steps of an arm, by the mean over seeds.

    Steps of teachers that were trained before count, but on no other axis.
    """
    cost = measured.cost(scored)
    own = np.asarray(steps, dtype=np.float64) - measured.arms[scored.arm].begins_at
    runs = scored.readings.values()
    match over:
        case "examples":
            seeds = [[cost.groups * at(each.examples, x) for x in own] for each in runs]
        case "seconds":
            seeds = [[at(each.seconds, x) / cost.shared_by for x in own] for each in runs]
        case "bytes":
            inside = cost.workers * cost.inside
            seeds = [[cost.groups * (x * inside + at(r.exchanged, x)) for x in own] for r in runs]
        case _:
            seeds = [list(steps)]
    return np.asarray(np.mean(seeds, axis=0), dtype=np.float64)


def _level(axes: "Axes", measured: Measured, panel: Panel) -> None:
    """Draws a line at the baseline's best, if the panel has the baseline."""
    if measured.experiment.baseline in panel.arms:
        best = measured.scored(measured.experiment.baseline, panel.weights).best.mean
        axes.axhline(best, color="#555555", linewidth=0.6, zorder=1)


def _limits(axes: "Axes", measured: Measured, panel: Panel) -> None:
    """Limits the vertical axis to where the arms differ: not the fall of the first steps."""
    scored = [measured.scored(name, panel.weights) for name in panel.arms]
    bands = [mean_and_range([seed.curve for seed in each.seeds.values()]) for each in scored]
    late = [
        each.sign * curve.values[round(EARLY * len(curve.steps)) :]
        for each, band in zip(scored, bands, strict=True)
        for curve in band
    ]
    values = np.concatenate(late)
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.01
    axes.set_ylim(low - margin, high + margin)


def best_values(axes: "Axes", measured: Measured, panel: Panel, looks: Looks) -> None:
    """Draws the best value of each arm in a row: the mean, its interval, and each seed."""
    for row, name in enumerate(panel.arms):
        best = measured.scored(name, panel.weights).best
        look = looks[name]
        if best.interval:
            axes.plot(best.interval, [row, row], color=look.color, linewidth=1.0, zorder=2)
        seeds: dict[str, Any] = {"facecolors": "none", "edgecolors": "#222222", "linewidths": 0.7}
        axes.scatter([best.mean], [row], s=26, marker=look.marker, color=look.color, zorder=3)
        axes.scatter(best.values, [row] * len(best.values), s=10, zorder=4, **seeds)
        place: dict[str, Any] = {
            "xycoords": axes.get_yaxis_transform(),
            "va": "center",
            "fontsize": 7.5,
        }
        axes.annotate(measured.arms[name].label, (0, row - 0.45), **place)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(panel.arms) - 0.6, -0.8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"best {metric_label(measured)}")


def over_workers(axes: "Axes", measured: Measured, panel: Panel, looks: Looks) -> None:
    """Draws the steps to the best of the smallest arm over the workers of a group.

    The line is the mean over seeds, where all of them reach it; points are seeds, and crosses at
    the upper edge those that do not. The thin line stands for half of the steps with twice the
    workers.
    """
    arms = sorted(panel.arms, key=lambda name: measured.arms[name].workers)
    smallest = measured.scored(arms[0], panel.weights)
    levels = {seed: outcome.best.value for seed, outcome in smallest.seeds.items()}
    means: list[tuple[int, float]] = []
    for name in arms:
        workers, look = measured.arms[name].workers, looks[name]
        steps = list(_reached(measured.scored(name, panel.weights), levels))
        found = [step for step in steps if step is not None]
        seeds: dict[str, Any] = {"marker": look.marker, "edgecolors": look.color}
        shown: dict[str, Any] = {"s": 16, "linewidths": 0.8, "zorder": 3, "facecolors": "white"}
        axes.scatter([workers] * len(found), found, **seeds, **shown)
        if len(found) == len(steps):
            means.append((workers, float(np.mean(found))))
        else:
            edge: dict[str, Any] = {
                "transform": axes.get_xaxis_transform(),
                "clip_on": False,
                "color": "black",
            }
            axes.scatter([workers], [1.0], marker="x", s=20, linewidths=0.9, **edge)
    _ticks_of_workers(axes, [measured.arms[name].workers for name in arms])
    _lines_of_workers(axes, means)
    axes.set_ylabel("steps")
    axes.set_ylim(bottom=0)


def _reached(scored: Scored, levels: Mapping[int, float]) -> Iterable[float | None]:
    for seed, outcome in scored.seeds.items():
        if seed in levels:
            yield first_reached(outcome.curve, levels[seed])


def _lines_of_workers(axes: "Axes", means: Sequence[tuple[int, float]]) -> None:
    """Draws the mean steps, and those of a group that needs half of them with twice the workers."""
    workers, steps = [count for count, _ in means], [mean for _, mean in means]
    ideal = [steps[0] * workers[0] / count for count in workers]
    line: dict[str, Any] = {"color": "#000000", "linewidth": 1.2, "zorder": 2}
    axes.plot(workers, steps, label="mean over seeds", **line)
    thin: dict[str, Any] = {"color": "#777777", "linewidth": 0.7, "linestyle": "--"}
    axes.plot(workers, ideal, label="half of it with twice the workers", **thin)
    axes.legend(frameon=False, loc="lower left", handlelength=2)


def _ticks_of_workers(axes: "Axes", workers: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(workers, [str(each) for each in workers])
    axes.minorticks_off()
    axes.set_xlabel("workers in the group, relative to one group")


def metric_label(measured: Measured) -> str:
    """Returns the label of the metric on the validation data, with its unit."""
    unit = f" ({measured.unit})" if measured.unit else ""
    return f"validation {measured.experiment.metric.replace('_', ' ')}{unit}"
