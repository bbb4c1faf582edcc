"""The learning curves of a run, read from the ``metrics.jsonl`` of its groups."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, reason_of
from hvcod.files.regular import open_regular
from hvcod.folders import group_folder, list_groups
from hvcod.terminal import one_line
from hvcod.training.record.lines import from_line, number


class Curve(NamedTuple):
    """The values of one metric, [N], and the ascending steps at which they were measured, [N]."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


AXES = {"steps": None, "examples": "examples", "time": "wall_s"}
"""{what a curve is drawn over: the metric that says it at each step}; time is in seconds."""


@dataclass(frozen=True)
class GroupCurves:
    """The learning curves of one group.

    Attributes:
        metrics: {metric: its curve}, such as ``task_loss`` and ``validation_loss``.
        parts: {metric: its curve on each of the ``--validation-parts``}, names as in `metrics`.
        staleness: {teacher: student's minus teacher's step in the last loss, in steps}.
        disagreement: {teacher: mean KL divergence of its predictions from the group's, in nats}.
        first_teacher: The first step that was learned with a teacher; None if there was none.
        processors: The kinds of processors that it was trained on.
        noise: {``scale``, ``low``, ``high``, ``batch`` and so on: curve} of the gradient noise
            scale, in examples.
        diverged: Whether its last line says that a loss or gradient was NaN or infinite.
    """

    group: int
    metrics: dict[str, Curve]
    parts: dict[str, list[Curve]]
    staleness: dict[str, Curve]
    disagreement: dict[str, Curve]
    first_teacher: int | None
    processors: tuple[str, ...] = ()
    diverged: bool = False
    noise: dict[str, Curve] = field(default_factory=dict)

    def along(self, axis: str, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Returns where steps of the curves lie on one of the `AXES`; NaN if no line says it."""
        name = AXES[axis]
        if name is None:
            return steps.astype(np.float64)
        if (known := self.metrics.get(name)) is None:
            return np.full(len(steps), np.nan)
        by_step = dict(zip(known.steps.tolist(), known.values.tolist(), strict=True))
        return np.array([by_step.get(step, np.nan) for step in steps.tolist()])


def read_curves(run: Path) -> list[GroupCurves]:
    """Returns the curves of the groups of a run, which may be training, by index.

    Raises:
        HvcodError: The folder is not a run, or its metrics cannot be read.
    """
    try:
        groups = list_groups(run)
    except OSError as error:
        raise HvcodError(f"cannot read the run {run}: {reason_of(error)}") from error
    files = {group: group_folder(run, group) / "metrics.jsonl" for group in groups}
    begun = {group: path for group, path in files.items() if os.path.lexists(path)}
    if not begun:
        raise HvcodError(f"{run} is not a run: it has no group-*/metrics.jsonl")
    return [_curves(group, _lines(path)) for group, path in begun.items()]


def names_of(runs: Sequence[Path]) -> list[str]:
    """Returns the names of runs, each on one line, with the folders above that tell them apart."""
    paths = [run.resolve().parts for run in runs]
    names = []
    for run, parts in zip(runs, paths, strict=True):
        ends = (count for count in range(1, len(parts)) if _shared(paths, parts[-count:]) == 1)
        # Two links may point to the same run.
        name = "/".join(parts[-count:]) if (count := next(ends, 0)) else str(run)
        names.append(one_line(name))
    return names


def _shared(paths: Sequence[tuple[str, ...]], end: tuple[str, ...]) -> int:
    """Returns how many of some paths have the same end."""
    return sum(path[-len(end) :] == end for path in paths)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        with open_regular(path) as file:
            content = file.read()
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    # While the run is training, its last line may be incomplete.
    return [line for text in content.splitlines(keepends=True) if (line := from_line(text))]


def _curves(group: int, lines: Sequence[dict[str, Any]]) -> GroupCurves:
    taught = next((line["step"] for line in lines if line.get("teachers")), None)
    figures = [(line["step"], line) for line in lines]
    apart = [(step, line.get("validation_disagreement")) for step, line in figures]
    noise = [(step, line.get("noise")) for step, line in figures]
    metrics = _by_name(figures)
    metrics.pop("step", None)
    ages = _by_name([(step, line.get("staleness")) for step, line in figures])
    return GroupCurves(
        group,
        metrics,
        _by_part(figures),
        staleness=ages,
        disagreement=_by_name(apart),
        noise=_by_name(noise),
        first_teacher=taught,
        processors=_processors(lines),
        diverged=bool(lines) and lines[-1].get("diverged") is True,
    )


def _processors(lines: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Returns the kinds of processors on which it was started and resumed, each once."""
    kinds = (line["processor"] for line in lines if isinstance(line.get("processor"), str))
    return tuple(dict.fromkeys(kinds))


def _by_part(figures: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, list[Curve]]:
    """Returns the curves of each metric of the validation, one for each part of the data."""
    values: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for step, line in figures:
        measured = line.get("validation_parts")
        for name, parts in measured.items() if isinstance(measured, dict) else ():
            if isinstance(parts, list):
                numbered = {str(index): value for index, value in enumerate(parts)}
                values.setdefault(f"validation_{name}", []).append((step, numbered))
    return {name: _in_order(_by_name(lines)) for name, lines in values.items()}


def _in_order(curves: Mapping[str, Curve]) -> list[Curve]:
    """Returns the curves of parts by number; that of a part without any value is empty."""
    count = 1 + max(map(int, curves), default=-1)
    return [curves.get(str(index), _curve([])) for index in range(count)]


def _by_name(lines: Iterable[tuple[int, Any]]) -> dict[str, Curve]:
    """Returns the curve of each number among the figures {name: value} of some steps."""
    points: dict[str, list[tuple[int, float]]] = {}
    for step, figures in lines:
        for name in figures if isinstance(figures, dict) else ():
            if (value := number(figures, name)) is not None:
                points.setdefault(name, []).append((step, value))
    return {name: _curve(pairs) for name, pairs in points.items()}


def _curve(points: Sequence[tuple[int, float]]) -> Curve:
    steps, values = [step for step, _ in points], [value for _, value in points]
    return Curve(np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))
