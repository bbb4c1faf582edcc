"""The step time of a group while its only peer is killed, corrupt, or its file system blocks.

    PYTHONPATH=tests:. .venv/bin/python -m filesystems.step_time [--seconds 30] [--rounds 3]

Two groups of one rank on GlusterFS, each through a mount of its own and on a core of its own.
Phases of harm alternate with phases without, and every ratio is taken to the two phases without
harm around it. In all of them group 0 has a teacher: what is compared is a step with a healthy
teacher and a step with the last teacher it got.

A dead peer would leave its core, and with it a share of caches and memory, to the group that is
measured. So another training, which has nothing to do with the run, takes the dead peer's place.
"""

import argparse
import contextlib
import itertools
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from filesystems.gluster import Volume, blocked, volume
from filesystems.launches import SMALL, Launch, start_on, step_lines, train

from hvcod.training.record.lines import from_line, last_lines

HARMS = ("blocked", "corrupt", "killed")

OPTIONS: Mapping[str, object] = {
    **SMALL,
    "steps": 10**6,
    "batch_size": 8,
    "save_interval": 100,
    "model.hidden": 64,
    "codistill.exchange_interval": 50,
    "codistill.burn_in": 50,
}


@dataclass(frozen=True)
class Phase:
    """A time, in seconds of the monotonic clock, in which the same harm was done all along."""

    harm: str
    begin: float
    end: float


@dataclass(frozen=True)
class Ratio:
    """A phase of harm compared with those around it.

    Attributes:
        harm: What was done.
        healthy: Median step time without harm, in seconds.
        harmed: Median step time with it, in seconds.
        longest: The longest step with it, in seconds.
        steps: How many steps with it.
        taught: Share of them that had a teacher.
        refreshed: How often that became fresher.
    """

    harm: str
    healthy: float
    harmed: float
    longest: float
    steps: int
    taught: float
    refreshed: int

    @property
    def ratio(self) -> float:
        return self.harmed / self.healthy


@dataclass
class Bench:
    """Two groups of a run that goes on until the measurement ends.

    Attributes:
        view: Where they share their run directory; group 0 sees it through the first mount.
        folder: For logs and such; not harmed.
        environment: Of their launches.
        options: Of the run.
        seconds: How long a phase lasts.
        settling: Of these, how many at its beginning do not count.
        phases: Those that were.
        part: The folder of group 0 in the run directory, as it sees it itself.
        group: Group 0, which is measured.
        peer: Group 1, which is harmed.
    """

    view: Volume
    folder: Path
    environment: Mapping[str, str]
    options: Mapping[str, object]
    seconds: float
    settling: float
    phases: list[Phase] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._flag = self.folder / "corrupt"
        self._offset = math.inf
        self._core, *_, self._other_core = 2 * sorted(os.sched_getaffinity(0))
        run = self.view.a.mount / "run"
        self.part = run / "group-0"
        self.group = self._start(self._core, "group", "hvcod", *train(run, self.options, 2, 0))
        # What else this machine does is not to be measured: all of it gives way on this core.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.group.process.pid}/autogroup").write_text("-15")
        self.peer = self._start_peer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.group.kill()
        self.peer.kill()

    def measure(self, harms: Sequence[str], rounds: int) -> list[Ratio]:
        """All kinds of harm, one after the other, again and again, and no harm in between."""
        self._phase("healthy")
        for harm in [*harms] * rounds:
            self._phase(harm)
            self._phase("healthy")
        self._wait_for_fresher_teachers()
        return self._ratios()

    def _phase(self, harm: str) -> None:
        harms: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
            "healthy": contextlib.nullcontext,
            "killed": self._killed,
            "corrupt": self._corrupt,
            "blocked": lambda: blocked(self.view.a),
        }
        self._wait_for_fresher_teachers()
        print(f"{time.strftime('%H:%M:%S')} {harm}", file=sys.stderr)
        with harms[harm]():
            begin = time.monotonic()
            time.sleep(self.seconds)
            self.phases.append(Phase(harm, begin + self.settling, time.monotonic()))

    def _wait_for_fresher_teachers(self) -> None:
        """Waits for two: the first may have been under way when the harm ended."""
        known: set[int] = set()
        end = time.monotonic() + 240
        while len(known) < 3:
            assert self.group.is_running(), self.group.log.read_text()
            assert self.peer.is_running(), self.peer.log.read_text()
            assert time.monotonic() < end, "no fresh teacher came"
            time.sleep(0.05)
            if line := self._last_line():
                # Read soon after it was written, it tells when the group's clock began.
                self._offset = min(self._offset, time.monotonic() - line["wall_s"])
                known |= set(line["teachers"].values())

    def _last_line(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, StopIteration):
            line = from_line(next(last_lines(self.part / "metrics.jsonl", 2**16)))
            return line if line and "loss" in line else None
        return None

    def _ratios(self) -> list[Ratio]:
        lines = step_lines(self.part)
        found = []
        for before, phase, after in itertools.islice(_triples(self.phases), 0, None, 2):
            healthy = self._of(lines, before) + self._of(lines, after)
            found.append(_ratio(phase.harm, healthy, self._of(lines, phase)))
        return found

    def _of(self, lines: list[dict[str, Any]], phase: Phase) -> list[dict[str, Any]]:
        begin, end = phase.begin - self._offset, phase.end - self._offset
        return [line for line in lines if begin <= line["wall_s"] <= end]

    @contextlib.contextmanager
    def _corrupt(self) -> Iterator[None]:
        self._flag.touch()
        try:
            yield
        finally:
            self._flag.unlink()

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        self.peer.kill()
        elsewhere = self.folder / "another"
        shutil.rmtree(elsewhere, ignore_errors=True)
        words = train(elsewhere, self.options, 1)
        another = self._start(self._other_core, "another", "hvcod", *words)
        try:
            yield
        finally:
            another.kill()
            self.peer = self._start_peer()

    def _start_peer(self) -> Launch:
        program = (sys.executable, Path(__file__).with_name("corrupting.py"), self._flag)
        words = train(self.view.b.mount / "run", self.options, 2, 1)
        return self._start(self._other_core, "peer", *program, *words)

    def _start(self, core: int, name: str, *words: object) -> Launch:
        return start_on(core, self.environment, words, self.folder / f"{name}.log")


def _triples(phases: Sequence[Phase]) -> Iterator[tuple[Phase, Phase, Phase]]:
    return zip(phases, phases[1:], phases[2:], strict=False)


def _ratio(harm: str, healthy: list[dict[str, Any]], harmed: list[dict[str, Any]]) -> Ratio:
    times = [line["step_s"] for line in harmed]
    return Ratio(
        harm,
        healthy=statistics.median(line["step_s"] for line in healthy),
        harmed=statistics.median(times),
        longest=max(times),
        steps=len(times),
        taught=sum("1" in line["teachers"] for line in harmed) / len(harmed),
        refreshed=len({line["teachers"].get("1") for line in harmed}) - 1,
    )


def table(ratios: list[Ratio]) -> Iterator[str]:
    yield "harm          healthy ms  harmed ms   ratio  longest ms  steps  taught  refreshed"
    for each in ratios:
        yield (
            f"{each.harm:13} {1000 * each.healthy:10.2f} {1000 * each.harmed:10.2f} "
            f"{each.ratio:7.3f} {1000 * each.longest:11.1f} {each.steps:6} {each.taught:7.0%} "
            f"{each.refreshed:10}"
        )
    for harm in sorted({each.harm for each in ratios}):
        middle = statistics.median(each.ratio for each in ratios if each.harm == harm)
        yield f"{harm}: {middle:.3f} of the step time with a healthy teacher (median of rounds)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of a phase")
    parser.add_argument("--harm", nargs="+", choices=HARMS, default=HARMS, help="what is done")
    parser.add_argument("--rounds", type=int, default=3, help="of all kinds of harm")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        view = stack.enter_context(volume(folder / "volume"))
        bench = Bench(view, folder, os.environ, OPTIONS, chosen.seconds, settling=2.0)
        stack.enter_context(bench)
        print(*table(bench.measure(chosen.harm, chosen.rounds)), sep="\n")


if __name__ == "__main__":
    main()
