"""Thousands of changed files: none is accepted wrongly, none stalls, swells or kills a reader."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tensorfile.mutants import DAMAGE, FORGED, mutant

EVERYDAY, LONG = 500, 32_000

VERDICTS = ("damaged", "refused", "same", "other")
"""The last two of those that were accepted; see `read_mutants`."""

# Seconds for one file of a few kilobytes, on a machine that is busy.
PATIENCE = 60.0


@dataclass
class Outcome:
    """Verdicts on a number of mutants.

    Attributes:
        verdicts: How often each verdict was given, by kind.
        faults: What must never be.
        grown: Bytes by which the reading process grew, at most.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    grown: int = 0

    def of(self, verdict: str) -> int:
        """The number of times that this verdict was given."""
        return sum(count for (_, given), count in self.verdicts.items() if given == verdict)


def fuzz(count: int) -> Outcome:
    """Has the first `count` mutants read, by as many processes as it takes, up to ten faults."""
    outcome, first = Outcome(), 0
    while first < count and len(outcome.faults) < 10:
        first = read_some(first, count, outcome)
    return outcome


def read_some(first: int, end: int, outcome: Outcome) -> int:
    """Has mutants read by one process until it ends; the number of the first that was not."""
    number = first
    with reader(first, end) as lines:
        for line in lines:
            word, verdict, *rest = line.split(maxsplit=2)
            if word == "grown":
                outcome.grown = max(outcome.grown, int(verdict))
                return end
            if verdict != "reading":
                note(outcome, int(word), verdict, " ".join(rest).strip())
                number = int(word) + 1
    outcome.faults.append(f"{number}: the reader died or hung")
    return number + 1


def note(outcome: Outcome, number: int, verdict: str, reason: str) -> None:
    kind = mutant(number).kind
    given = reason if verdict == "accepted" else verdict
    outcome.verdicts[kind, given] += 1
    if given not in VERDICTS:
        outcome.faults.append(f"{number} ({kind}): {verdict} {reason}")


@contextmanager
def reader(first: int, end: int) -> Iterator[Iterator[str]]:
    """The lines of a process that reads mutants; it is killed if it prints none for too long."""
    program = Path(__file__).with_name("read_mutants.py")
    process = subprocess.Popen(
        [sys.executable, program, str(first), str(end)],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    heard, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            heard.clear()
            if not heard.wait(PATIENCE):
                process.kill()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()

    def lines() -> Iterator[str]:
        assert process.stdout is not None
        for line in process.stdout:
            heard.set()
            yield line

    with process:
        yield lines()
        over.set()
        heard.set()


def test_no_mutant_is_accepted_wrongly_or_does_harm(scale: Callable[[int, int], int]) -> None:
    count = scale(EVERYDAY, LONG)
    outcome = fuzz(count)
    print(report(outcome))
    assert outcome.faults == []
    assert sum(outcome.verdicts.values()) == count
    # The longest index has a megabyte; the elements of what is parsed are limited.
    assert outcome.grown < 256 * 2**20
    for kind in ("random bytes", *DAMAGE):
        assert not outcome.verdicts[kind, "same"]
        assert not outcome.verdicts[kind, "other"]
    # That the mutants are worth something: most get beyond the digest, and each kind of forgery is
    # refused for what it is or harmless.
    assert outcome.of("damaged") < 0.4 * count
    for kind in FORGED:
        assert outcome.verdicts[kind, "refused"] + outcome.verdicts[kind, "same"] > 0
    for kind in ("index: origin", "index: offsets", "index: names exchanged", "image"):
        assert outcome.verdicts[kind, "other"] > 0


def report(outcome: Outcome) -> str:
    """A line for each kind of mutant."""
    lines = [f"{'':36}" + "".join(f"{verdict:>10}" for verdict in VERDICTS)]
    for kind in ("random bytes", *DAMAGE, *FORGED):
        counts = [outcome.verdicts[kind, verdict] for verdict in VERDICTS]
        lines.append(f"{kind:36}" + "".join(f"{count:10}" for count in counts))
    lines.append(f"grown by {outcome.grown} bytes")
    return "\n".join(lines)
