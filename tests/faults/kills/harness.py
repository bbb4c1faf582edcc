"""Trainings that are killed (-9) over and over at random moments, and resumed until they finish."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forkserver.launches import ForkServer, Launch

from hvcod.tensorfile.decode import decode_tensors, read_file

STEPS, LOG, SAVE = 60, 5, 10

SMALL = {
    "steps": STEPS,
    "batch_size": 4,
    "seed": 5,
    "log_interval": LOG,
    "save_interval": SAVE,
    "validation_interval": 25,
    "validation_examples": 64,
    "model.hidden": 32,
    "model.embedding": 16,
    "codistill.exchange_interval": 10,
    "codistill.burn_in": 20,
    "codistill.teacher_wait": 120,
}

KILLS_A_RUN = 6
LONGEST_START = 1.5
LONGEST = 120.0

MOMENTS = ("start", "step", "step", "file", "file")
"""While it starts, soon after some step, or in the middle of writing a file."""

HALF_WRITTEN = "group-*/*/.step-*.tmp"

EXACT_FIGURES = ("loss", "task_loss", "distill_loss", "learning_rate", "teachers", "staleness")


@dataclass(frozen=True)
class Setting:
    """What is trained: how many launches, of how many ranks each, with which words."""

    launches: int
    ranks: int
    groups: int
    words: tuple[str, ...] = ()

    def commands(self, data: Path, run: Path) -> list[list[str]]:
        """The command of each launch."""
        words = ["hvcod", "train", "--data", str(data), "--run-dir", str(run), "--json"]
        words += ["--groups", str(self.groups), *self.words]
        words += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
        if self.launches == 1:
            return [words]
        return [[*words, "--group", str(index)] for index in range(self.launches)]


@dataclass
class Tally:
    """What was done and what came of it."""

    kills: int = 0
    resumes: int = 0
    runs: int = 0
    files_read: int = 0
    half_files: set[Path] = field(default_factory=set)
    moments: Counter[str] = field(default_factory=Counter)
    victims: Counter[str] = field(default_factory=Counter)

    def count(self, moment: str, victim: str) -> None:
        self.kills += 1
        self.moments[moment] += 1
        self.victims[victim] += 1

    def __str__(self) -> str:
        shown = (f"{counts.most_common()}" for counts in (self.moments, self.victims))
        return (
            f"{self.kills} kills in {self.runs} runs, {self.resumes} resumes, "
            f"{len(self.half_files)} half-written files left behind, {self.files_read} whole ones "
            f"read; {', '.join(shown)}"
        )


class KilledRun:
    """One run of a setting in one directory: its launches, and who kills them when."""

    def __init__(
        self, server: ForkServer, setting: Setting, data: Path, run: Path, tally: Tally, seed: str
    ) -> None:
        self._server, self._setting, self._run, self._tally = server, setting, run, tally
        self._commands = setting.commands(data, run)
        self._random = random.Random(seed)
        self._launches: list[Launch | None] = [None] * setting.launches
        self._summaries: dict[int, dict[str, Any]] = {}

    def finish(self, kills: int) -> dict[int, dict[str, Any]]:
        """Trains to the end beside so many kills, fewer if it ends before; summaries by group."""
        self._tally.runs += 1
        try:
            while not self._is_finished():
                self._start()
                kind = self._random.choice(MOMENTS)
                # Without kills left the launches are let to their end.
                moment = self._moment(kind) if kills else lambda: False
                if self._wait(moment):
                    if victim := self._kill():
                        kills -= 1
                        self._tally.count(kind, victim)
                    self._tally.files_read += verify_files(self._run)
                    self._tally.half_files |= left_behind(self._run)
        finally:
            for launch in self._launches:
                if launch:
                    launch.kill_all()
        return self._summaries

    def _is_finished(self) -> bool:
        return len(self._summaries) == self._setting.groups

    def _start(self) -> None:
        """Starts what does not run and has not finished."""
        for index, command in enumerate(self._commands):
            if self._launches[index] is None and index not in self._summaries:
                self._tally.resumes += any(self._run.glob("group-*/state/step-*"))
                with (self._run.parent / f"errors-{index}").open("a") as errors:
                    launch = self._server.start(self._setting.ranks, *command, stderr=errors)
                self._launches[index] = launch

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition, and whether it came true before some launch ended by itself."""
        end = time.monotonic() + LONGEST
        while not condition():
            assert time.monotonic() < end, f"waited in vain\n{self._where_ranks_are()}"
            if any(launch and launch.poll() is not None for launch in self._launches):
                self._collect()
                return False
            time.sleep(0.005)  # the ranks need the cores
        return True

    def _where_ranks_are(self) -> str:
        """What the ranks of all launches say of their threads; it ends them."""
        ranks = [
            each for launch in self._launches if launch for each in launch.processes().values()
        ]
        for process in ranks:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGABRT)
        time.sleep(2)
        errors = sorted(self._run.parent.glob("errors-*"))
        return "\n".join(f"{path.name}: {path.read_text()[-5000:]}" for path in errors)

    def _collect(self) -> None:
        for index, launch in enumerate(self._launches):
            if launch and launch.poll() is not None:
                errors = (self._run.parent / f"errors-{index}").read_text()
                assert launch.returncode == 0, errors[-5000:]
                for summary in json.loads(launch.communicate()[0]):
                    self._summaries[summary["group"]] = summary
                self._launches[index] = None

    def _moment(self, kind: str) -> Callable[[], bool]:
        """A random moment of a kind: whether it has come."""
        if kind == "start":
            return _after(self._random.uniform(0.0, LONGEST_START))
        now = max(map(last_step, self._groups()))
        wanted = self._random.randint(now, min(now + 4 * SAVE, STEPS))
        pause = self._random.uniform(0.0, 0.05)

        def reached() -> bool:
            return max(map(last_step, self._groups())) > wanted

        def writing() -> bool:
            end = time.monotonic() + 0.1
            while time.monotonic() < end:  # a file is written within milliseconds
                if any(self._run.glob(HALF_WRITTEN)):
                    return True
                time.sleep(0.0003)
            return False

        parts = [reached, writing if kind == "file" else _after(pause, begin_at_call=True)]
        return _one_after_the_other(parts)

    def _groups(self) -> list[Path]:
        return [self._run / f"group-{index}" for index in range(self._setting.groups)]

    def _kill(self) -> str:
        """Kills a rank, a whole launch or all launches: which, or nothing if all had finished."""
        alive = [launch for launch in self._launches if launch]
        victim = self._random.choice(("rank", "launch", "all") if alive[1:] else ("rank", "all"))
        hit = alive if victim == "all" else [self._random.choice(alive)]
        if victim == "rank" and (started := sorted(hit[0].processes())):
            hit[0].kill_rank(self._random.choice(started))
            hit[0].wait(LONGEST)
        else:
            for launch in hit:
                launch.kill_all()
        killed = [launch for launch in hit if launch.returncode]
        for launch in killed:
            launch.communicate()
            self._launches[self._launches.index(launch)] = None
        self._collect()
        return victim if killed else ""


def _after(seconds: float, begin_at_call: bool = False) -> Callable[[], bool]:
    begun: float | None = None if begin_at_call else time.monotonic()

    def is_over() -> bool:
        nonlocal begun
        begun = time.monotonic() if begun is None else begun
        return time.monotonic() - begun >= seconds

    return is_over


def _one_after_the_other(parts: Sequence[Callable[[], bool]]) -> Callable[[], bool]:
    waiting = list(parts)

    def all_were() -> bool:
        while waiting and waiting[0]():
            waiting.pop(0)
        return not waiting

    return all_were


def metrics(group: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a group's metrics; every one of them must be JSON."""
    path = group / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        if line.endswith(b"\n"):
            yield json.loads(line)


def last_step(group: Path) -> int:
    return max((line["step"] for line in metrics(group)), default=0)


def verify_files(run: Path) -> int:
    """Reads every state and checkpoint that has its name, as a reader would; how many."""
    count = 0
    for path in sorted(run.glob("group-*/*/step-*.h5")):
        try:
            data = read_file(path, 2**30)
        except FileNotFoundError:
            continue  # of a launch that goes on, and has removed it meanwhile
        origin, tensors = decode_tensors(data)
        assert origin.step == int(path.stem.removeprefix("step-"))
        assert tensors
        count += 1
    return count


def left_behind(run: Path) -> set[Path]:
    """The temporary files whose writer, named in theirs, is dead."""
    writers = {path: path.stem.rpartition("@")[2] for path in run.glob(HALF_WRITTEN)}
    return {path for path, writer in writers.items() if not Path("/proc", writer).exists()}


def learned(run: Path, group: int) -> dict[tuple[int, str], object]:
    """All figures of a group's metrics that an exact run repeats, by step and name."""
    found: dict[tuple[int, str], object] = {}
    for line in metrics(run / f"group-{group}"):
        for name in (*EXACT_FIGURES, "validation_loss"):
            if name in line:
                assert (line["step"], name) not in found, f"step {line['step']} is there twice"
                found[line["step"], name] = line[name]
    return found
