"""The panels of a picture of learning curves, one below the other over the same axis.

A group has a colour and a marker, and what is drawn of it a line style, so that lines can be told
apart in grey. A panel is as wide as a column of text.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.runs.curves import AXES, Curve, GroupCurves
from hvcod.terminal import one_line
from hvcod.units import byte_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours that colour-blind people can tell apart, too (Okabe and Ito)."""

MARKERS = ("o", "^", "s", "v", "D", "P", "X", "*", "<", ">", "h")
"""The number of them shares no factor with that of the colours, so pairs repeat late."""

MARKED = 8
"""About the number of markers on a line."""

KINDS: Mapping[str, tuple[str, Any]] = {
    "validation": ("", "-"),
    "average of the weights": ("average_", "--"),
    "ensemble of the groups": ("ensemble_", "-."),
    "ensemble of averages": ("ensemble_average_", (0, (5, 1, 1, 1, 1, 1))),
}
"""{what is scored: (how its metrics begin, line style)}."""

TRAINING: Mapping[str, Any] = {"linestyle": "-", "linewidth": 0.8, "alpha": 0.4}
PARTS: Sequence[Any] = ((0, (1, 1)), "-", (0, (4, 1)), (0, (4, 1, 1, 1)))
FIRST_TEACHER: Mapping[str, Any] = {"linestyle": ":", "linewidth": 1}
"""How losses of the training, of parts of the validation data, and that event are drawn."""

BEGINNING = 0.1
"""The share of a run at its beginning whose large losses may lie outside the picture."""

TEACHERS: Sequence[Any] = ("-", "--", "-.", ":")

BYTES: Mapping[str, tuple[str, Any]] = {
    "averaged inside the group": ("allreduce_bytes", "-"),
    "published for others": ("published_bytes", "--"),
    "taken from others": ("taken_bytes", ":"),
}
"""{what moved: (its metric, line style)}."""


SPREAD = 10
"""Bytes that differ by more than this factor are drawn on a logarithmic axis."""


class Axis(NamedTuple):
    """The horizontal axis.

    Attributes:
        over: One of `hvcod.runs.curves.AXES`.
        unit: That of the axis, in units of the metric.
    """

    over: str
    label: str
    unit: float = 1.0


def axis_of(groups: Sequence[GroupCurves], over: str) -> Axis:
    """Returns the axis for some groups.

    Raises:
        HvcodError: Their metrics do not say where their steps lie on it.
    """
    if (name := AXES[over]) is None:
        return Axis(over, "step")
    ends = [float(each.metrics[name].values.max()) for each in groups if name in each.metrics]
    if not ends:
        raise HvcodError(f"no line of these metrics has a figure {name}: draw them --over steps")
    if over == "examples":
        return Axis(over, "examples of a group")
    unit, seconds = next(each for each in _UNITS if max(ends) >= 3 * each[1] or each[1] == 1)
    return Axis(over, f"wall time ({unit})", seconds)


_UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


class Series(NamedTuple):
    """A group whose curves are drawn.

    Attributes:
        name: In the legend.
        number: Among all that are drawn; it decides colour and marker.
        axis: The horizontal one.
    """

    name: str
    curves: GroupCurves
    number: int
    axis: Axis

    @property
    def look(self) -> dict[str, Any]:
        """The colour and marker."""
        color = COLORS[self.number % len(COLORS)]
        return {"color": color, "marker": MARKERS[self.number % len(MARKERS)], "markersize": 3.5}

    def along(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Returns where steps lie on the horizontal axis."""
        return self.curves.along(self.axis.over, steps) / self.axis.unit

    def plot(self, axes: "Axes", curve: Curve | None, **style: Any) -> None:
        """Draws a curve, if there is one, with some markers."""
        if curve is None or not len(curve.steps):
            return
        every = max(1, len(curve.steps) // MARKED)
        marked = (self.number * every // 3 % every, every)
        look = {**self.look, "linewidth": 1.2, "markevery": marked, **style}
        axes.plot(self.along(curve.steps), curve.values, **look)


class Panel(NamedTuple):
    """One of the panels.

    Attributes:
        label: Of the vertical axis.
        height: In inches.
        draw: Draws all groups.
    """

    label: str
    height: float
    draw: Callable[["Axes", Sequence[Series]], None]


def panels(series: Sequence[Series], per_step: bool) -> list[Panel]:
    """Returns the panels for which some group has figures; the first one shows losses.

    Args:
        per_step: Whether bytes are those of a step, not all so far.
    """
    everyones = [each.curves for each in series]
    scored = {name for curves in everyones for name in _scored(curves)}
    found = [Panel("loss (nats)", 3.2, _losses)]
    for name in sorted(scored):
        found.append(Panel(one_line(name).replace("_", " "), 1.7, partial(_scores, name=name)))
    if any(curves.disagreement for curves in everyones):
        found.append(Panel("disagreement with\nteachers (nats)", 1.5, _disagreement))
    if any(curves.staleness for curves in everyones):
        found.append(Panel("staleness of\nteachers (steps)", 1.5, _staleness))
    if any(curves.noise for curves in everyones):
        found.append(Panel("gradient noise\nscale (examples)", 1.5, _noise))
    if any(_moved(curves) for curves in everyones):
        label = "bytes in a step" if per_step else "bytes so far"
        found.append(Panel(label, 1.8, partial(_bytes, per_step=per_step)))
    return found


def kinds(series: Sequence[Series]) -> dict[str, Any]:
    """Returns {name in the legend: line style} of what is drawn of a group."""
    everyones = [each.curves for each in series]
    names = {name for curves in everyones for name in curves.metrics}
    found: dict[str, Any] = {
        kind: {"linestyle": style, "linewidth": 1.2}
        for kind, (prefix, style) in KINDS.items()
        if f"validation_{prefix}loss" in names
    }
    parts = max(len(curves.parts.get("validation_loss", [])) for curves in everyones)
    found |= {f"validation, part {part}": _part(part) for part in range(parts)}
    if "task_loss" in names:
        found["training"] = TRAINING
    if any(curves.first_teacher is not None for curves in everyones):
        found["first teacher"] = FIRST_TEACHER
    return found


def _part(part: int) -> dict[str, Any]:
    """Returns the style of one part of the validation data."""
    return {"linestyle": PARTS[part % len(PARTS)], "linewidth": 0.7}


def _scored(curves: GroupCurves) -> set[str]:
    """Returns the names of the metrics of the validation, other than the loss."""
    begin = "validation_"
    names = {name.removeprefix(begin) for name in curves.metrics if name.startswith(begin)}
    prefixes = [prefix for prefix, _ in KINDS.values() if prefix]
    of_others = {prefix + name for prefix in prefixes for name in {*names, "loss"}}
    return names - of_others - {"loss"}


def _losses(axes: "Axes", series: Sequence[Series]) -> None:
    """Draws the losses of validation and training, and marks the first teachers."""
    for each in series:
        each.plot(axes, each.curves.metrics.get("task_loss"), **TRAINING, marker="")
        if (step := each.curves.first_teacher) is not None:
            (where,) = each.along(np.array([step]))
            axes.axvline(where, color=each.look["color"], **FIRST_TEACHER)
    _scores(axes, series, "loss")
    _zoom(axes, series)


def _scores(axes: "Axes", series: Sequence[Series], name: str) -> None:
    """Draws a metric of the validation: of the weights, averages, ensembles, parts of the data."""
    for each in series:
        for part, curve in enumerate(each.curves.parts.get(f"validation_{name}", [])):
            each.plot(axes, curve, **_part(part), marker="")
        for prefix, style in KINDS.values():
            # An ensemble is not of the group that measured it.
            mark = {"marker": ""} if prefix.startswith("ensemble") else {}
            curve_of_kind = each.curves.metrics.get(f"validation_{prefix}{name}")
            each.plot(axes, curve_of_kind, linestyle=style, **mark)


def _zoom(axes: "Axes", series: Sequence[Series]) -> None:
    """Lets the losses of the first steps lie above the picture, so that the later ones spread."""
    names = ["task_loss", *(f"validation_{prefix}loss" for prefix, _ in KINDS.values())]
    drawn = [
        (each.along(curve.steps), curve.values)
        for each in series
        for name in names
        if (curve := each.curves.metrics.get(name)) is not None
    ]
    end = max((float(where.max()) for where, _ in drawn), default=0.0)
    later = np.concatenate(
        [values[where >= BEGINNING * end] for where, values in drawn] or [np.zeros(0)]
    )
    if len(later) and later.min() < later.max():
        pad = 0.05 * (later.max() - later.min())
        axes.set_ylim(later.min() - pad, later.max() + pad)


def _disagreement(axes: "Axes", series: Sequence[Series]) -> None:
    """Draws one line for each teacher of a group, and names them if there are several."""
    for each in series:
        for number, (teacher, curve) in enumerate(each.curves.disagreement.items()):
            each.plot(axes, curve, linestyle=TEACHERS[number % len(TEACHERS)])
            if len(each.curves.disagreement) > 1:
                (where,) = each.along(curve.steps[-1:])
                axes.annotate(one_line(teacher), (where, curve.values[-1]), fontsize="small")


def _staleness(axes: "Axes", series: Sequence[Series]) -> None:
    for each in series:
        for number, curve in enumerate(each.curves.staleness.values()):
            each.plot(axes, curve, linestyle=TEACHERS[number % len(TEACHERS)])
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))


def _noise(axes: "Axes", series: Sequence[Series]) -> None:
    """Draws the noise scale and, thin, the ends of its interval; dotted: the batch."""
    axes.set_yscale("log", nonpositive="mask")
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for each in series:
        noise = each.curves.noise
        each.plot(axes, noise.get("scale"))
        for end in ("low", "high"):
            each.plot(axes, noise.get(end), linewidth=0.5, marker="")
        each.plot(axes, noise.get("batch"), linestyle=":", linewidth=1, marker="")


def _moved(curves: GroupCurves) -> dict[str, Curve]:
    """Returns the curves of bytes by what moved, without those that are always zero."""
    found = {kind: curves.metrics.get(metric) for kind, (metric, _) in BYTES.items()}
    return {kind: of for kind, of in found.items() if of is not None and of.values.any()}


def _bytes(axes: "Axes", series: Sequence[Series], per_step: bool) -> None:
    shown: dict[str, float] = {}
    for each in series:
        for kind, curve in _moved(each.curves).items():
            drawn = _of_a_step(curve) if per_step else curve
            each.plot(axes, drawn, linestyle=BYTES[kind][1])
            shown[kind] = max(shown.get(kind, 0), float(drawn.values.max(initial=0)))
    if max(shown.values()) > SPREAD * min(shown.values()):
        axes.set_yscale("log", nonpositive="mask")
        axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: byte_count(value))
    look: dict[str, Any] = {"color": "black", "linewidth": 1.2}
    styles = {kind: style for kind, (_, style) in BYTES.items() if kind in shown}
    lines = [axes.plot([], [], linestyle=style, **look)[0] for style in styles.values()]
    axes.legend(lines, list(styles), fontsize=7, frameon=False, handlelength=2.6)


def _of_a_step(curve: Curve) -> Curve:
    """Returns the mean increase a step since the last one, at the points where it has risen."""
    risen = np.diff(curve.values, prepend=0) > 0
    steps, values = curve.steps[risen], curve.values[risen]
    return Curve(steps, np.diff(values, prepend=0) / np.diff(steps, prepend=0))
