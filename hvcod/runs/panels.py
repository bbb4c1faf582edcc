"""The panels of a picture of learning curves, one below the other over the same axis.

A panel holds lines, whatever draws them: a picture (`hvcod.runs.plot`) or a page
(`hvcod.runs.page`). A group has a colour, and what is drawn of it dashes, so that lines can be told
apart in grey.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.runs.curves import AXES, Curve, GroupCurves
from hvcod.terminal import one_line
from hvcod.units import byte_count

Dashes = tuple[float, ...]
"""Lengths of dashes and gaps, in widths of the line; empty: solid."""

SOLID: Dashes = ()
DASHED: Dashes = (3.7, 1.6)
DASH_DOTTED: Dashes = (6.4, 1.6, 1, 1.6)
DOTTED: Dashes = (1, 1.65)


class Look(NamedTuple):
    """The look of what is drawn of a group; its colour is the group's.

    Attributes:
        width: Of the line, in points.
        marked: With some markers of the group.
    """

    dashes: Dashes = SOLID
    width: float = 1.2
    opacity: float = 1.0
    marked: bool = True


KINDS: Mapping[str, tuple[str, Look]] = {
    "validation": ("", Look()),
    "average of the weights": ("average_", Look(DASHED)),
    # An ensemble is not of the group that measured it.
    "ensemble of the groups": ("ensemble_", Look(DASH_DOTTED, marked=False)),
    "ensemble of averages": ("ensemble_average_", Look((5, 1, 1, 1, 1, 1), marked=False)),
}
"""{what is scored: (how its metrics begin, its look)}."""

TRAINING = Look(width=0.8, opacity=0.4, marked=False)
PARTS: Sequence[Dashes] = ((1, 1), SOLID, (4, 1), (4, 1, 1, 1))
FIRST_TEACHER = Look(DOTTED, width=1, marked=False)
"""The looks of training losses, of parts of the validation data, and of the first teacher."""

BEGINNING = 0.1
"""The share of a run at its beginning whose large losses may lie outside the picture."""

TEACHERS: Sequence[Dashes] = (SOLID, DASHED, DASH_DOTTED, DOTTED)

BYTES: Mapping[str, tuple[str, Dashes]] = {
    "averaged inside the group": ("allreduce_bytes", SOLID),
    "published for others": ("published_bytes", DASHED),
    "taken from others": ("taken_bytes", DOTTED),
}
"""{what moved: (its metric, dashes)}."""

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


class Line(NamedTuple):
    """A line of a panel.

    Attributes:
        series: The number of its group among all that are drawn.
        kind: What it shows of the group.
        where: Along the horizontal axis, [N].
        values: [N].
        end: A text at its end.
    """

    series: int
    kind: str
    look: Look
    where: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    end: str = ""


class Series(NamedTuple):
    """A group whose curves are drawn.

    Attributes:
        name: In the legend.
        number: Among all that are drawn; it decides the colour.
        axis: The horizontal one.
    """

    name: str
    curves: GroupCurves
    number: int
    axis: Axis

    def along(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Returns where steps lie on the horizontal axis."""
        return self.curves.along(self.axis.over, steps) / self.axis.unit

    def line(self, curve: Curve | None, kind: str, look: Look, end: str = "") -> Iterator[Line]:
        """Yields the line of a curve, if there is one."""
        if curve is not None and len(curve.steps):
            yield Line(self.number, kind, look, self.along(curve.steps), curve.values, end)


@dataclass(frozen=True)
class Panel:
    """One of the panels.

    Attributes:
        label: Of the vertical axis.
        height: In inches.
        first_teachers: (number of a group, where it has its first teacher).
        limits: Of the vertical axis; None: what the lines need.
        logarithmic: The vertical axis is.
        from_zero: The vertical axis reaches down to zero.
        form: Returns a number of the vertical axis as text.
        legend: {kind: look} of lines that only this panel has.
    """

    label: str
    height: float
    lines: Sequence[Line]
    first_teachers: Sequence[tuple[int, float]] = ()
    limits: tuple[float, float] | None = None
    logarithmic: bool = False
    from_zero: bool = False
    form: Callable[[float], str] = "{:g}".format
    legend: Mapping[str, Look] | None = None


def panels(series: Sequence[Series], per_step: bool) -> list[Panel]:
    """Returns the panels for which some group has figures; the first one shows losses.

    Args:
        per_step: Whether bytes are those of a step, not all so far.
    """
    scored = sorted({name for each in series for name in _scored(each.curves)})
    found = [
        _losses(series),
        *(Panel(one_line(name).replace("_", " "), 1.7, _scores(series, name)) for name in scored),
        Panel("disagreement with\nteachers (nats)", 1.5, _disagreement(series)),
        Panel("staleness of\nteachers (steps)", 1.5, _staleness(series), from_zero=True),
        Panel("gradient noise\nscale (examples)", 1.5, _noise(series), logarithmic=True),
        _bytes(series, per_step),
    ]
    return [panel for number, panel in enumerate(found) if panel.lines or not number]


def kinds(series: Sequence[Series]) -> dict[str, Look]:
    """Returns {name in the legend: look} of what is drawn of a group."""
    everyones = [each.curves for each in series]
    names = {name for curves in everyones for name in curves.metrics}
    found = {
        kind: look._replace(marked=False)
        for kind, (prefix, look) in KINDS.items()
        if f"validation_{prefix}loss" in names
    }
    parts = max(len(curves.parts.get("validation_loss", [])) for curves in everyones)
    found |= {f"validation, part {part}": _part(part) for part in range(parts)}
    if "task_loss" in names:
        found["training"] = TRAINING
    if any(curves.first_teacher is not None for curves in everyones):
        found["first teacher"] = FIRST_TEACHER
    return found


def _part(part: int) -> Look:
    """Returns the look of one part of the validation data."""
    return Look(PARTS[part % len(PARTS)], width=0.7, marked=False)


def _scored(curves: GroupCurves) -> set[str]:
    """Returns the names of the metrics of the validation, other than the loss."""
    begin = "validation_"
    names = {name.removeprefix(begin) for name in curves.metrics if name.startswith(begin)}
    prefixes = [prefix for prefix, _ in KINDS.values() if prefix]
    of_others = {prefix + name for prefix in prefixes for name in {*names, "loss"}}
    return names - of_others - {"loss"}


def _losses(series: Sequence[Series]) -> Panel:
    """The losses of validation and training, and where the first teachers are."""
    training = [
        line
        for each in series
        for line in each.line(each.curves.metrics.get("task_loss"), "training", TRAINING)
    ]
    lines = [*training, *_scores(series, "loss")]
    first = [
        (each.number, float(each.along(np.array([step]))[0]))
        for each in series
        if (step := each.curves.first_teacher) is not None
    ]
    parts = [line for line in lines if not line.kind.startswith("validation, part")]
    return Panel("loss (nats)", 3.2, lines, first, _zoomed(parts))


def _scores(series: Sequence[Series], name: str) -> list[Line]:
    """A metric of the validation: of the weights, averages, ensembles, parts of the data."""
    lines = list[Line]()
    for each in series:
        for part, curve in enumerate(each.curves.parts.get(f"validation_{name}", [])):
            lines += each.line(curve, f"validation, part {part}", _part(part))
        for kind, (prefix, look) in KINDS.items():
            lines += each.line(each.curves.metrics.get(f"validation_{prefix}{name}"), kind, look)
    return lines


def _zoomed(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Limits by which losses of the first steps may lie above, so that the later ones spread."""
    end = max((float(line.where.max()) for line in lines), default=0.0)
    later = np.concatenate(
        [line.values[line.where >= BEGINNING * end] for line in lines] or [np.zeros(0)]
    )
    if not len(later) or later.min() == later.max():
        return None
    pad = 0.05 * (later.max() - later.min())
    return float(later.min() - pad), float(later.max() + pad)


def _disagreement(series: Sequence[Series]) -> list[Line]:
    """One line for each teacher of a group, which is named if there are several."""
    return [
        line
        for each in series
        for number, (teacher, curve) in enumerate(each.curves.disagreement.items())
        for line in each.line(
            curve,
            f"teacher {one_line(teacher)}",
            Look(TEACHERS[number % len(TEACHERS)]),
            one_line(teacher) if len(each.curves.disagreement) > 1 else "",
        )
    ]


def _staleness(series: Sequence[Series]) -> list[Line]:
    return [
        line
        for each in series
        for number, (teacher, curve) in enumerate(each.curves.staleness.items())
        for line in each.line(
            curve, f"teacher {one_line(teacher)}", Look(TEACHERS[number % len(TEACHERS)])
        )
    ]


NOISE: Mapping[str, tuple[str, Look]] = {
    "scale": ("noise scale", Look()),
    "low": ("lower end of its interval", Look(width=0.5, marked=False)),
    "high": ("upper end of its interval", Look(width=0.5, marked=False)),
    "batch": ("batch", Look(DOTTED, width=1, marked=False)),
}
"""{figure of the noise: (what it is, its look)}."""


def _noise(series: Sequence[Series]) -> list[Line]:
    """The noise scale and, thin, the ends of its interval; dotted: the batch."""
    return [
        line
        for each in series
        for name, (kind, look) in NOISE.items()
        for line in each.line(each.curves.noise.get(name), kind, look)
    ]


def _moved(curves: GroupCurves) -> dict[str, Curve]:
    """Returns the curves of bytes by what moved, without those that are always zero."""
    found = {kind: curves.metrics.get(metric) for kind, (metric, _) in BYTES.items()}
    return {kind: of for kind, of in found.items() if of is not None and of.values.any()}


def _bytes(series: Sequence[Series], per_step: bool) -> Panel:
    lines = list[Line]()
    for each in series:
        for kind, curve in _moved(each.curves).items():
            drawn = _of_a_step(curve) if per_step else curve
            lines += each.line(drawn, kind, Look(BYTES[kind][1]))
    most = [
        max(float(line.values.max()) for line in lines if line.kind == kind)
        for kind in {line.kind for line in lines}
    ]
    return Panel(
        "bytes in a step" if per_step else "bytes so far",
        1.8,
        lines,
        logarithmic=bool(most) and max(most) > SPREAD * min(most),
        form=byte_count,
        legend={
            kind: Look(dashes, marked=False)
            for kind, (_, dashes) in BYTES.items()
            if any(line.kind == kind for line in lines)
        },
    )


def _of_a_step(curve: Curve) -> Curve:
    """Returns the mean increase a step since the last one, at the points where it has risen."""
    risen = np.diff(curve.values, prepend=0) > 0
    steps, values = curve.steps[risen], curve.values[risen]
    gaps, moved = np.diff(steps, prepend=0), np.diff(values, prepend=0)
    known = gaps > 0
    return Curve(steps[known], moved[known] / gaps[known])
