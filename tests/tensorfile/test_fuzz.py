"""Thousands of changed files: none accepted wrong, none that stalls, swells or kills a reader."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from exchange.support import about, encoded, put, wait_until
from tensorfile.good_files import EXPECTED, STEP, TENSORS
from tensorfile.mutants import DAMAGE, FORGED, mutant

from hvcod.exchange.poll import Poller

EVERYDAY, LONG = 500, 10_000

VERDICTS = ("damaged", "refused", "accepted", "unjudged")

# libhdf5 itself is given up after a minute.
PATIENCE = 90.0


@dataclass
class Outcome:
    """What became of a number of mutants.

    Attributes:
        verdicts: How often each verdict was given, by kind.
        faults: What must never be.
        contained: Reasons that tell of a fault of libhdf5 which its own process bore.
        grown: Bytes by which the reading process grew, at most.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    contained: list[str] = field(default_factory=list)
    grown: int = 0

    def of(self, verdict: str) -> int:
        """How often this verdict was given."""
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
    outcome.verdicts[kind, verdict] += 1
    if verdict not in VERDICTS:
        outcome.faults.append(f"{number} ({kind}): {verdict} {reason}")
    if reason.startswith(("libhdf5 dies", "libhdf5 takes", "libhdf5 tells")):
        outcome.contained.append(f"{number}: {reason}")


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


def test_no_mutant_is_accepted_wrong_or_does_harm(scale: Callable[[int, int], int]) -> None:
    count = scale(EVERYDAY, LONG)
    outcome = fuzz(count)
    print(report(outcome))
    assert outcome.faults == []
    assert sum(outcome.verdicts.values()) == count
    # No file is larger than 18 kB.
    assert outcome.grown < 4 * 2**20
    assert outcome.of("unjudged") <= count / 200
    for kind in DAMAGE:
        assert outcome.verdicts[kind, "accepted"] == 0
    # That the mutants are worth something: most get beyond the digest, and of each kind of forgery
    # some are refused for what they are and some harmless.
    assert outcome.of("damaged") < 0.4 * count
    for kind in FORGED:
        assert outcome.verdicts[kind, "refused"] > 0
        assert outcome.verdicts[kind, "accepted"] > 0


@pytest.mark.parametrize("number", [1609, 1888, 2066, 10_235])
def test_a_file_that_crashes_libhdf5_costs_freshness_only(tmp_path: Path, number: int) -> None:
    """Mutants that HDF5 2.0 dies of; another release may refuse them, or find them harmless."""

    def good(step: int) -> bytes:
        return bytes(encoded(dict(TENSORS), about(step)))

    with closing(Poller({0: tmp_path}, {0: EXPECTED}, "run-1")) as poller:
        for step, data in ((STEP - 10, good(STEP - 10)), (STEP, mutant(number).data)):
            put(tmp_path, step, data)
        poller.look(STEP)
        wait_until(lambda: poller.counters.loaded)
        put(tmp_path, STEP + 10, good(STEP + 10))
        poller.look(STEP + 10)
        wait_until(lambda: (arrival := poller.take()) and arrival.step == STEP + 10)
        reasons = [failure.last for failure in poller.failures[0].values()]
        print(reasons)
        assert poller.counters.failures.total() <= 1
        assert all("libhdf5" in reason for reason in reasons)


def report(outcome: Outcome) -> str:
    """A line for each kind of mutant."""
    lines = [f"{'':36}" + "".join(f"{verdict:>10}" for verdict in VERDICTS)]
    for kind in ("random bytes", *DAMAGE, *FORGED):
        counts = [outcome.verdicts[kind, verdict] for verdict in VERDICTS]
        lines.append(f"{kind:36}" + "".join(f"{count:10}" for count in counts))
    lines += [f"grown by {outcome.grown} bytes", *outcome.contained]
    return "\n".join(lines)
