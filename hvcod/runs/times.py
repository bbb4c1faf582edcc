"""A picture of what the steps of runs spent their time on: a stacked bar for each group."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hvcod.errors import HvcodError
from hvcod.runs.curves import GroupCurves
from hvcod.spans import PARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "data": ("#f2f2f2", "////"),
    "forward": ("#08519c", ""),
    "teachers": ("#fdae6b", ""),
    "backward": ("#6baed6", ""),
    "allreduce": ("#a63603", "...."),
    "update": ("#c6dbef", "\\\\\\\\"),
    "exchange": ("#31a354", "xxxx"),
    "agreement": ("#000000", ""),
    "other": ("#ffffff", ""),
}
"""The colour and hatching of each part: in grey, neighbours differ in one of them at least."""

LEAST = 0.09
"""The share of the longest bar from which on a part has its share of the step written into it."""


def figure(groups: Sequence[tuple[str, GroupCurves]]) -> "Figure":
    """Returns the picture; each group has a name.

    Raises:
        HvcodError: The metrics of no group hold such times.
    """
    from matplotlib.figure import Figure

    bars = {name: parts for name, curves in groups if (parts := means(curves))}
    if not bars:
        raise HvcodError("no line of these metrics says what a step's time went to")
    picture = Figure(figsize=(5.0, 1.7 + 0.42 * len(bars)), layout="constrained")
    axes = picture.subplots()
    longest = max(sum(parts.values()) for parts in bars.values())
    for row, parts in enumerate(bars.values()):
        _draw(axes, row, parts, longest)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds a step")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    names = [name for name in PARTS if name in shown]
    small: dict[str, Any] = {"fontsize": 8, "columnspacing": 1.2, "handlelength": 1.6}
    shapes = [shown[name] for name in names]
    picture.legend(shapes, names, loc="outside lower center", ncols=5, frameon=False, **small)
    return picture


def means(curves: GroupCurves) -> dict[str, float]:
    """Returns {part: mean milliseconds a step}; without the first line, if there are others."""
    known: Mapping[str, Sequence[float]] = {
        name: curves.metrics[f"{name}_s"].values.tolist()
        for name in PARTS
        if f"{name}_s" in curves.metrics
    }
    lines = {name: values[1:] or values for name, values in known.items()}
    return {name: 1000 * sum(values) / len(values) for name, values in lines.items()}


def _draw(axes: "Axes", row: int, parts: Mapping[str, float], longest: float) -> None:
    total, left = sum(parts.values()), 0.0
    for name, taken in parts.items():
        color, hatch = LOOKS[name]
        look: dict[str, Any] = {"hatch": hatch, "edgecolor": "black", "linewidth": 0.6}
        if taken:
            axes.barh(row, taken, left=left, height=0.62, label=name, color=color, **look)
        if taken > LEAST * longest:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
            middle = left + taken / 2
            share = f"{taken / total:.0%}"
            axes.text(middle, row, share, ha="center", va="center", fontsize=8, bbox=box)
        left += taken
