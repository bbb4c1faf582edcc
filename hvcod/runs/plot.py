"""Pictures of runs: their learning curves, or what their steps spent their time on."""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvcod.errors import HvcodError, UsageError
from hvcod.files.whole import write_output
from hvcod.runs import times
from hvcod.runs.curves import GroupCurves, names_of, read_curves
from hvcod.runs.panels import FIRST_TEACHER, Look, Panel, Series, axis_of, kinds, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6
"""The width of the curves in inches: printed in a column of text, their letters can be read."""

COLORS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours that colour-blind people can tell apart, too (Okabe and Ito)."""

MARKERS = ("o", "^", "s", "v", "D", "P", "X", "*", "<", ">", "h")
"""The number of them shares no factor with that of the colours, so pairs repeat late."""

MARKED = 8
"""About the number of markers on a line."""

SMALL: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "columnspacing": 1.0}


def draw(
    runs: Sequence[Path],
    output: Path,
    over: str = "steps",
    per_step: bool = False,
    step_times: bool = False,
) -> None:
    """Draws what the metrics of every group of some runs hold, in panels below each other.

    Validation and training loss, other metrics of the validation, the disagreement with teachers,
    their staleness, and the bytes that moved. Averages, ensembles and parts of the validation data
    are further lines. A vertical line marks the first step with a teacher.

    Args:
        runs: Run directories; the runs may still be training.
        output: The picture; its name ends in ``.png``, ``.svg`` or ``.pdf``.
        over: The horizontal axis, one of `hvcod.runs.curves.AXES`.
        per_step: Draw the bytes of a step, not those so far.
        step_times: Draw the parts of a step instead, see `hvcod.runs.times`.

    Raises:
        UsageError: The picture's name has another ending.
        HvcodError: Matplotlib is not installed, a run has no metrics, or none of step times or of
            what to draw over, or the picture cannot be written.
    """
    # It says that a full or closed home has no room for its cache of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise HvcodError("hvcod plot needs: pip install 'hvcod[plot]'") from error
    # Libraries warn of values and of letters that a font lacks, which is nobody's concern here. No
    # name of a run is a formula.
    with warnings.catch_warnings(), rc_context({"text.parse_math": False, "text.usetex": False}):
        warnings.simplefilter("ignore")
        groups = [
            (f"{_shown(name)}, group {curves.group}", curves)
            for name, run in zip(names_of(runs), runs, strict=True)
            for curves in read_curves(run)
        ]
        _write(times.figure(groups) if step_times else _figure(groups, over, per_step), output)


def _write(figure: "Figure", output: Path) -> None:
    """Writes the picture; what was there stays if it cannot be."""
    content, kind = io.BytesIO(), output.suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise UsageError(f"--output {output}: end the name with .png, .svg or .pdf")
    figure.savefig(content, dpi=120, format=kind)
    try:
        write_output(output, content.getvalue())
    except HvcodError as error:
        raise HvcodError(f"{error}; name a picture elsewhere with --output") from error


def _shown(name: str) -> str:
    """Returns a name as the legend takes it, which leaves out those that begin with _."""
    return f"./{name}" if name.startswith("_") else name


def _figure(groups: Sequence[tuple[str, GroupCurves]], over: str, per_step: bool) -> "Figure":
    from matplotlib.figure import Figure

    axis = axis_of([curves for _, curves in groups], over)
    series = [Series(*group, number, axis) for number, group in enumerate(groups)]
    chosen = panels(series, per_step)
    heights = [panel.height for panel in chosen]
    legend = {each.name: _of_group(each.number) for each in series}
    legend |= {kind: {"color": "0.3", **_of_line(look)} for kind, look in kinds(series).items()}
    rows = -(-len(legend) // 2)
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.6 + 0.16 * rows), layout="constrained")
    below = figure.subplots(len(chosen), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, panel in zip(below, chosen, strict=True):
        _draw(axes, panel)
    below[-1].set_xlabel(axis.label, fontsize=8)
    entries = [below[0].plot([], [], **look)[0] for look in legend.values()]
    figure.legend(entries, list(legend), loc="outside lower center", ncols=2, **SMALL)
    return figure


def _draw(axes: "Axes", panel: Panel) -> None:
    if panel.logarithmic:
        axes.set_yscale("log", nonpositive="mask")
        axes.minorticks_off()
    for line in panel.lines:
        look = _of_group(line.series) | _of_line(line.look)
        if line.look.marked:
            every = max(1, len(line.where) // MARKED)
            look["markevery"] = (line.series * every // 3 % every, every)
        else:
            look["marker"] = ""
        axes.plot(line.where, line.values, **look)
        if line.end:
            axes.annotate(line.end, (line.where[-1], line.values[-1]), fontsize="small")
    for series, where in panel.first_teachers:
        axes.axvline(where, color=_of_group(series)["color"], **_of_line(FIRST_TEACHER))
    if panel.limits:
        axes.set_ylim(*panel.limits)
    if panel.from_zero:
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    if panel.logarithmic or panel.legend:
        axes.yaxis.set_major_formatter(lambda value, _: panel.form(value))
    if panel.legend:
        lines = [
            axes.plot([], [], color="black", **_of_line(look))[0] for look in panel.legend.values()
        ]
        axes.legend(lines, list(panel.legend), fontsize=7, frameon=False, handlelength=2.6)
    axes.set_ylabel(panel.label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _of_group(number: int) -> dict[str, Any]:
    """Returns the colour and marker of a group."""
    marker = MARKERS[number % len(MARKERS)]
    return {"color": COLORS[number % len(COLORS)], "marker": marker, "markersize": 3.5}


def _of_line(look: Look) -> dict[str, Any]:
    style = (0, look.dashes) if look.dashes else "-"
    return {"linestyle": style, "linewidth": look.width, "alpha": look.opacity}
