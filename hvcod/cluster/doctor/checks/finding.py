"""The finding of a check, and the phrases that several checks share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hvcod.cluster.doctor.facts import Examination, Outcome, Rank
from hvcod.units import byte_count

FASTER = "put the environment on a fast file system, or on the nodes: sbcast, a container"


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        result: `ok`; `warning`: it trains, but not well; `failed`: it does not; `skipped`.
        found: What was found.
        mend: What to do; empty if there is nothing to do.
    """

    result: Literal["ok", "warning", "failed", "skipped"]
    found: str
    mend: str = ""


def where(ranks: Sequence[Rank]) -> str:
    """Names the ranks; of several, the first and how many more there are."""
    more = len(ranks) - 1
    return f"{ranks[0]}" + (f" and {more} more" if more else "")


def failures(examination: Examination, stage: str) -> tuple[list[Rank], str]:
    """The ranks on which a stage failed, and the reason on the first of them."""
    found = [rank for rank in examination.ranks if rank.problem(stage)]
    return found, found[0].problem(stage) if found else ""


def unusable(examination: Examination, stage: str, what: str, mend: str) -> Finding | None:
    """The finding about software that fails on some ranks; None if it works on all.

    `mend` is left out where the software only took too long to load.
    """
    ranks, problem = failures(examination, stage)
    if not ranks:
        return None
    found = f"{what}: {problem} ({where(ranks)})"
    return Finding("failed", found, FASTER if ranks[0].outcomes[stage].late else mend)


def skipped(outcome: Outcome) -> Finding | None:
    """The finding about a stage that was not reached; None if it was."""
    return None if outcome.reached else Finding("skipped", outcome.problem)


def rate(bytes_per_s: float | None) -> str:
    """A rate as text, such as 1.2 GB/s."""
    return "unknown" if bytes_per_s is None else f"{byte_count(bytes_per_s)}/s"


def seconds(value: float | None) -> str:
    """A time as text, such as 12 ms."""
    if value is None:
        return "unknown"
    return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:.3g} s"
