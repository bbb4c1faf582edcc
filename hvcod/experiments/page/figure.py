"""The figure of an experiment in the paper's form: mean and range over seeds, in some panels."""

import dataclasses
import importlib.util
import io
import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hvcod.errors import HvcodError
from hvcod.experiments.base import Panel
from hvcod.experiments.measuring.measured import Measured
from hvcod.experiments.page import panels
from hvcod.experiments.page.styles import COLUMN, Style, rules, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT, _ROW, _LINE = 2.1, 0.28, 0.15  # inches: of a panel, of an arm in it, of a legend's line
_DOTS = 300  # per inch
_STACKED = 3  # panels in one column; more stand in two

_DRAW = {"curves": panels.curves, "best": panels.best_values, "workers": panels.over_workers}


def check_pictures() -> None:
    """Raises HvcodError if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise HvcodError("hvcod experiment needs: pip install 'hvcod[plot]'")


def pictures(measured: Measured) -> dict[str, bytes]:
    """Returns {ending: the figure in that format}, as `saved` does."""
    return saved(lambda: figure(measured))


def saved(draw: Callable[[], "Figure"]) -> dict[str, bytes]:
    """Returns {ending: a figure in that format}, ``png`` and ``svg``.

    Raises:
        HvcodError: Matplotlib is not installed.
    """
    check_pictures()
    # It says that a full or closed home has no room for its cache of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    formats: dict[str, dict[str, Any]] = {
        "png": {"dpi": _DOTS},
        "svg": {"metadata": {"Date": None}},
    }
    with rules():
        drawn, contents = draw(), {}
        for ending, options in formats.items():
            content = io.BytesIO()
            drawn.savefig(content, format=ending, **options)
            contents[ending] = content.getvalue()
    return contents


def figure(measured: Measured) -> "Figure":
    """Returns the figure, at the width of a column or of two."""
    from matplotlib.figure import Figure

    shown = [_drawable(panel, measured) for panel in measured.experiment.panels]
    columns = 1 if len(shown) <= _STACKED else 2
    rows = math.ceil(len(shown) / columns)
    looks = styles_of(measured)
    arms = [name for name in looks if any(p.kind == "curves" and name in p.arms for p in shown)]
    heights = [_height(each) for each in shown[::columns]]
    width = COLUMN * columns + 0.2 * (columns - 1)
    # Letters are whole dots wide: what fits at the dots of a screen may not fit in print.
    drawn = Figure(figsize=(width, sum(heights)), dpi=_DOTS, layout="constrained")
    lines = _legend(drawn, measured, {name: looks[name] for name in arms}, 2 * columns)
    drawn.set_size_inches(width, sum(heights) + _LINE * lines + 0.1 * bool(lines))
    grid = {"height_ratios": heights}
    axes = drawn.subplots(rows, columns, squeeze=False, gridspec_kw=grid).ravel().tolist()
    for number, (each, panel) in enumerate(zip(axes, shown, strict=False)):
        _DRAW[panel.kind](each, measured, panel, looks)
        _title(each, panel, number if len(shown) > 1 else None)
    for each in axes[len(shown) :]:
        each.remove()
    return drawn


def _drawable(panel: Panel, measured: Measured) -> Panel:
    """Returns a panel without the arms that were not validated on its weights."""
    arms = [name for name in panel.arms if panel.weights in measured.weights(name)]
    return dataclasses.replace(panel, arms=arms)


def styles_of(measured: Measured) -> dict[str, Style]:
    """Returns {arm: its look}: the baseline, the arm of the first claim, then the others."""
    experiment = measured.experiment
    first = [experiment.baseline, *(claim.arm for claim in experiment.claims[:1])]
    names = dict.fromkeys([*first, *measured.arms])
    order = {name: number for number, name in enumerate(names)}
    return {name: style(order[name]) for name in measured.arms}


def _height(panel: Panel) -> float:
    return 0.65 + _ROW * len(panel.arms) if panel.kind == "best" else _HEIGHT


def _title(axes: "Axes", panel: Panel, number: int | None) -> None:
    letter = "" if number is None else f"({chr(ord('a') + number)}) "
    weights = "averaged weights" if panel.weights == "average" else ""
    axes.set_title(f"{letter}{panel.title or weights}".strip(), loc="left", pad=4)


def _legend(drawn: "Figure", measured: Measured, looks: Mapping[str, Style], most: int) -> int:
    """Draws the legend in as many columns as there is room for; returns its number of lines."""
    from matplotlib.lines import Line2D

    if not looks:
        return 0
    lines = [Line2D([], [], **look.of_line) for look in looks.values()]
    labels = [measured.arms[name].label for name in looks]
    spaces = {"handlelength": 2.6, "handletextpad": 0.5, "columnspacing": 0.8, "labelspacing": 0.3}
    for columns in range(min(most, len(looks)), 0, -1):
        more: dict[str, Any] = {"ncols": columns, "frameon": False, "borderpad": 0, **spaces}
        legend = drawn.legend(lines, labels, loc="outside lower center", **more)
        if columns == 1 or legend.get_window_extent().width <= drawn.bbox.width:
            break
        legend.remove()
    return math.ceil(len(looks) / columns)
