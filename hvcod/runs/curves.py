"""The learning curves of a run, read from the ``metrics.jsonl`` of its groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, reason_of
from hvcod.training.record.lines import from_line


class Curve(NamedTuple):
    """The values of one metric, [N], and the ascending steps at which they were measured, [N]."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupCurves:
    """The learning curves of one group.

    Attributes:
        metrics: {metric: its curve}, such as ``task_loss`` and ``validation_loss``.
        first_teacher: The first step that was learned with a teacher; None if there was none.
    """

    group: int
    metrics: dict[str, Curve]
    first_teacher: int | None


def read_curves(run: Path) -> list[GroupCurves]:
    """Returns the curves of the groups of a run, which may be training, by index.

    Raises:
        HvcodError: The folder is not a run, or its metrics cannot be read.
    """
    paths = run.glob("group-*/metrics.jsonl")
    files = {int(path.parent.name.removeprefix("group-")): path for path in paths}
    if not files:
        raise HvcodError(f"{run} is not a run: it has no group-*/metrics.jsonl")
    return [_curves(group, _lines(files[group])) for group in sorted(files)]


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
    # While the run is training, its last line may be incomplete.
    return [line for text in content.splitlines(keepends=True) if (line := from_line(text))]


def _curves(group: int, lines: Sequence[dict[str, Any]]) -> GroupCurves:
    points: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if isinstance(value, int | float) and name != "step":
                points.setdefault(name, []).append((line["step"], value))
    taught = next((line["step"] for line in lines if line.get("teachers")), None)
    return GroupCurves(group, {name: _curve(pairs) for name, pairs in points.items()}, taught)


def _curve(points: Sequence[tuple[int, float]]) -> Curve:
    steps, values = zip(*points, strict=True)
    return Curve(np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))
