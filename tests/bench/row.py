"""A row of the benchmark: two things measured side by side, and the ratio they should reach."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self


class NotMeasuredError(Exception):
    """A row cannot be measured on this machine; says what it needs."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: Names the row for ``bin/bench --only``.
        measured: What hvcod takes, the median, in `unit`.
        reference: What it is compared with, the median, in `unit`.
        target: The ratio of measured to reference that counts as met.
        unit: Of measured and reference.
        spread: Lower and upper quartile of the ratio over the repetitions.
        lower_is_better: Whether the ratio should be at most the target, or at least.
        bound: What keeps the ratio from the target where it is missed, as a profile showed.
    """

    name: str
    measured: float
    reference: float
    target: float
    unit: str = "s"
    spread: tuple[float, float] | None = None
    lower_is_better: bool = True
    bound: str = ""

    @property
    def ratio(self) -> float:
        """Measured over reference."""
        return self.measured / self.reference

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the target."""
        return self.ratio <= self.target if self.lower_is_better else self.ratio >= self.target

    def as_dict(self) -> dict[str, Any]:
        """The row as ``bin/bench --json`` writes it."""
        return {
            "name": self.name,
            "measured": self.measured,
            "reference": self.reference,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
            "unit": self.unit,
            "spread": self.spread,
            "lower_is_better": self.lower_is_better,
            "bound": self.bound,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The row that `as_dict` gave."""
        given = {field.name: content[field.name] for field in fields(cls)}
        return cls(**given | {"spread": content["spread"] and tuple(content["spread"])})


@dataclass(frozen=True)
class Pair:
    """Two callables timed in turns: median seconds of each, and the quartiles of their ratio."""

    measured: float
    reference: float
    spread: tuple[float, float]

    def speeds(self, count: float) -> "Pair":
        """The same pair as so many things a second, not as seconds."""
        low, high = self.spread
        return Pair(count / self.measured, count / self.reference, (1 / high, 1 / low))

    def row(
        self,
        name: str,
        target: float,
        unit: str = "s",
        *,
        lower_is_better: bool = True,
        bound: str = "",
    ) -> Row:
        """The row of such a pair, with the attributes of `Row`."""
        return Row(
            name, self.measured, self.reference, target, unit, self.spread, lower_is_better, bound
        )


def measure_pair(
    measured: Callable[[], object], reference: Callable[[], object], repeats: int
) -> Pair:
    """Times two callables in turns, A B A B, so that what else the machine does hits both.

    Each runs once unmeasured first. `repeats` is how often each is timed, at least 2.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for function, taken in zip((measured, reference), seconds, strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                taken.append(time.perf_counter() - start)
    return summarise_pair(*seconds)


def summarise_pair(measured: list[float], reference: list[float]) -> Pair:
    """The same from times that were taken elsewhere, in turns: one after the other, in order."""
    ratios = [a / b for a, b in zip(measured, reference, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Pair(statistics.median(measured), statistics.median(reference), (low, high))
