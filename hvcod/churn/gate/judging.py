"""Limits of a gate, and verdicts on whether a candidate keeps them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hvcod.churn.gate.measures import MEASURES, Candidate, Compared, Figure
from hvcod.churn.options import GateOptions

KEPT, BROKEN, UNDECIDED, NOT_JUDGED = "kept", "broken", "undecided", "not judged"


@dataclass(frozen=True)
class Limit:
    """A limit of a measure.

    Attributes:
        measure: One of `MEASURES`.
        value: The largest value that keeps it; of the gain the smallest.
        by_slice: Whether every slice must keep it, or all rows together.
    """

    measure: str
    value: float
    by_slice: bool

    @property
    def is_least(self) -> bool:
        """True if larger values are better."""
        return self.measure == "gain"

    @property
    def flag(self) -> str:
        """The option that sets it."""
        return f"--{'slice-' * self.by_slice}{'min' if self.is_least else 'max'}-{self.measure}"

    def keeps(self, value: float) -> bool:
        """Returns whether a value keeps the limit; the limit itself does."""
        return value >= self.value if self.is_least else value <= self.value

    def __str__(self) -> str:
        return f"at {'least' if self.is_least else 'most'} {self.value:g}"


@dataclass(frozen=True)
class Judgement:
    """A verdict on a limit.

    Attributes:
        slice: The name of the slice; None for all rows.
        verdict: `KEPT`, `BROKEN`, `UNDECIDED` (the interval reaches to both sides of the limit, or
            there are too few rows for one), or `NOT_JUDGED` (a slice of too few rows).
        rows_needed: The number of rows that would decide, if the estimate stays; None if that is
            unknown.
    """

    limit: Limit
    slice: str | None
    figure: Figure
    verdict: str
    rows_needed: int | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the judgement as plain values."""
        return {
            "measure": self.limit.measure,
            "slice": self.slice,
            "limit": self.limit.value,
            **self.figure.to_dict(),
            "verdict": self.verdict,
            "rows_needed": self.rows_needed,
        }


def limits_of(options: GateOptions) -> list[Limit]:
    """Returns the limits that were given: those of all rows, then those of slices."""
    found = []
    for by_slice in (False, True):
        for measure in MEASURES:
            name = f"{'slice_' * by_slice}{'min' if measure == 'gain' else 'max'}_{measure}"
            if (value := getattr(options, name)) is not None:
                found.append(Limit(measure, value, by_slice))
    return found


def judgements(
    candidate: Candidate, limits: Sequence[Limit], options: GateOptions
) -> Iterator[Judgement]:
    """Yields a verdict for each limit, and for each slice if it is one of slices."""
    for limit in limits:
        parts: Iterable[tuple[str | None, Compared]] = [(None, candidate.overall)]
        if limit.by_slice:
            parts = candidate.slices.items()
        for name, compared in parts:
            figure: Figure = getattr(compared, limit.measure)
            if limit.by_slice and figure.rows < options.slice_min_rows:
                yield Judgement(limit, name, figure, NOT_JUDGED, None)
                continue
            verdict = _verdict(limit, figure, options.judge)
            needed = _rows_needed(limit, figure) if verdict == UNDECIDED else None
            yield Judgement(limit, name, figure, verdict, needed)


def _verdict(limit: Limit, figure: Figure, judge: str) -> str:
    if figure.estimate is None:
        return UNDECIDED
    ends = (figure.estimate, figure.estimate) if judge == "estimate" else figure.interval
    if ends is None:
        return UNDECIDED
    kept = [limit.keeps(end) for end in ends]
    return KEPT if all(kept) else UNDECIDED if any(kept) else BROKEN


def _rows_needed(limit: Limit, figure: Figure) -> int | None:
    """The rows with which the interval would end at the limit: its width falls with their root."""
    if figure.estimate is None or figure.interval is None or figure.estimate == limit.value:
        return None
    low, high = figure.interval
    reach = high - figure.estimate if limit.value > figure.estimate else figure.estimate - low
    return math.ceil(figure.rows * (reach / (limit.value - figure.estimate)) ** 2)
