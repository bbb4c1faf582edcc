"""The end of a group's ``metrics.jsonl``, read in bounded memory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvcod.spans import PARTS
from hvcod.training.record.lines import LARGEST_INTEGER, from_line, last_lines, number

BEGINNINGS = ("started", "resumed")
ENDINGS = ("finished", "preempted", "failed")

_LIMIT = 2**20
_RECENT = 20

Figures = dict[str, Any]


@dataclass
class Tail:
    """The newest lines of each kind in a file of metrics; empty where there are none.

    Attributes:
        step: The largest step of any line.
        losses: The last line with training losses, which a line about skipped steps lacks.
        validation: The last validation.
        ending: The event that ended the group; empty while it goes on.
        recent: Lines about training steps since it last started, the newest first.
        problems: {what failed: how often} since it last started.
        reasons: {what failed: why it failed last}.
        restarts: How often the group was resumed; None if that is too far back.
    """

    step: int | None = None
    losses: Figures = field(default_factory=dict)
    validation: Figures = field(default_factory=dict)
    ending: Figures = field(default_factory=dict)
    recent: list[Figures] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    restarts: int | None = None

    @property
    def steps_per_s(self) -> float | None:
        """Steps per second over the recent lines, including validations and saves."""
        if len(self.recent) >= 2:
            new, old = self.recent[0], self.recent[-1]
            seconds = number(new, "wall_s", 0.0) - number(old, "wall_s", 0.0)
            return (new["step"] - old["step"]) / seconds if seconds > 0 else None
        seconds = number(self.recent[0], "step_s", 0.0) if self.recent else 0.0
        return 1 / seconds if seconds > 0 else None

    @property
    def noise(self) -> Figures:
        """The figures of the gradient noise scale in the newest of the recent lines with some."""
        found = (line["noise"] for line in self.recent if isinstance(line.get("noise"), dict))
        return next(found, {})

    @property
    def times(self) -> dict[str, float]:
        """{part of a step: mean seconds} over the recent lines that say so."""
        means = {}
        for part in PARTS:
            known = [number(line, f"{part}_s") for line in self.recent]
            if values := [value for value in known if value is not None and value >= 0]:
                means[part] = sum(values) / len(values)
        return means


def read_tail(path: Path) -> Tail:
    """Reads as much of the end of a metrics file as is needed, at most 1 MiB.

    Garbage is skipped. Raises OSError if the file cannot be read, HvcodError if it is a pipe or so.
    """
    tail, this_life, first = Tail(), True, True
    for line in last_lines(path, _LIMIT):
        wants_more = this_life and len(tail.recent) < _RECENT
        is_validation = b'"validation_loss"' in line
        wanted = not tail.validation if is_validation else wants_more or not tail.losses
        figures = from_line(line) if wanted or b'"event"' in line else None
        if figures is None:
            continue
        tail.step = max(tail.step or 0, figures["step"])
        if is_validation:
            tail.validation = figures
            continue
        if first:
            _take_newest(tail, figures)
            first = False
        if wants_more and "step_s" in figures:
            tail.recent.append(figures)
        if "task_loss" in figures:
            tail.losses = tail.losses or figures
        if tail.restarts is None:
            tail.restarts = number(figures, "restarts")
        this_life = this_life and figures.get("event") not in BEGINNINGS
        is_settled = not this_life or len(tail.recent) == _RECENT
        if is_settled and tail.losses and tail.validation and tail.restarts is not None:
            break
    return tail


def mapping(figures: Figures, name: str, kind: type) -> dict[str, Any]:
    """Returns a figure that maps text to values of one type, without any other values."""
    value = figures.get(name)
    items = value.items() if isinstance(value, dict) else ()
    right: dict[str, Any] = {key: item for key, item in items if type(item) is kind}
    if kind is int:
        return {key: item for key, item in right.items() if abs(item) <= LARGEST_INTEGER}
    return right


def _take_newest(tail: Tail, figures: Figures) -> None:
    """Takes what only the newest line knows: counts start anew, and an ending may be over."""
    tail.problems = mapping(figures, "problems", int)
    tail.reasons = mapping(figures, "reasons", str)
    if figures.get("event") in ENDINGS:
        tail.ending = figures
