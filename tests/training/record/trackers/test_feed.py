"""Trackers that break, hang or die cost what they should have tracked, never the training."""

import contextvars
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from training.record.trackers.followed import tracked

from hvcod.errors import UsageError
from hvcod.registry import TRACKERS
from hvcod.training.record.trackers import feed
from hvcod.training.record.trackers.base import Ending, Tracked, Tracker, check_trackers
from hvcod.training.record.trackers.feed import Trackers

TOY = """
import os, subprocess, time
from hvcod.training.record.trackers.base import Tracker

class Toy(Tracker):
    def begin(self):
        if self.run.values.get("broken"):
            raise RuntimeError("no key for the server")
        return "here"

    def log(self, step, figures):
        if "raise" in figures:
            raise ValueError("no such figure" if figures["raise"] == 1 else f"none at {step}")
        if "die" in figures:
            os._exit(3)
        if "hang" in figures:
            child = subprocess.Popen(["sleep", "1000"])
            self.note(f"child {child.pid}")
            time.sleep(1000)
        self.note(f"{step} {figures}")

    def close(self, ending):
        self.note(f"{ending.ended} {ending.reason} {ending.summary}")
        print("what a library prints goes nowhere")
        return "look at toy.txt"

    def note(self, line):
        with open("toy.txt", "a") as file:
            file.write(f"{os.getpid()} {line}\\n")
"""
FINISHED = {"ended": "finished", "reason": "", "validation_loss": 0.5, "weights": "abc"}
KILLED = """
import sys, time
from hvcod.training.record.trackers import feed
from training.record.trackers.followed import tracked
from hvcod.training.record.trackers.feed import Trackers
from pathlib import Path
feed.SECONDS_TO_END = 0.5
trackers = Trackers(["toy"], tracked(Path(sys.argv[1])), 0)
trackers.log(10, {sys.argv[2]: 1.5})
print("started", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracked:
    """A run whose trackers may be ``toy``, which an installed package brings."""
    site = tmp_path / "site"
    about = site / "toy-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[hvcod.trackers]\ntoy = toy_tracker:Toy\n")
    (site / "toy_tracker.py").write_text(TOY)
    monkeypatch.syspath_prepend(site)
    return tracked(tmp_path / "run")


def notes(run: Tracked) -> list[str]:
    """Returns what the toy has noted, without the number of its process."""
    path = run.folder / "toy.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or ") Z " in stat.read_text()


def test_figures_and_the_end_arrive_in_order(
    run: Tracked, caplog: pytest.LogCaptureFixture
) -> None:
    trackers = Trackers(["toy"], run, 0)
    trackers.log(10, {"step": 10, "loss": 1.5, "event": "x"})
    wait_for(lambda: notes(run))
    # As schedulers do to all processes of a job: a tracker goes on until the training ends.
    process = int((run.folder / "toy.txt").read_text().split()[0])
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(process, number)
    with caplog.at_level(logging.INFO, "hvcod.training"):
        trackers.close(FINISHED)
    assert notes(run) == ["10 {'loss': 1.5}", "finished  {'validation_loss': 0.5}"]
    assert (trackers.problems, trackers.reasons) == ({}, {})
    assert trackers.summary() == {"trackers": {"toy": "here"}}
    assert "tracker toy: look at toy.txt" in caplog.messages


def test_its_lines_in_the_log_are_of_the_group_that_began_it(run: Tracked) -> None:
    turn = contextvars.ContextVar("turn", default="none")
    lines = list[tuple[str, str]]()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((turn.get(), record.getMessage()))

    training, handler, level = feed.log, Handler(), feed.log.level
    training.addHandler(handler)
    training.setLevel(logging.INFO)
    token = turn.set("group 1")
    trackers = Trackers(["toy"], run, 0)
    turn.reset(token)
    trackers.close(FINISHED)
    training.removeHandler(handler)
    training.setLevel(level)
    assert lines == [("group 1", "tracker toy: here"), ("none", "tracker toy: look at toy.txt")]


def test_what_a_tracker_refuses_is_counted_and_told_once(
    run: Tracked, caplog: pytest.LogCaptureFixture
) -> None:
    trackers = Trackers(["toy"], run, 0)
    for step in (10, 20):
        trackers.log(step, {"raise": 1})
    trackers.log(30, {"loss": 1.0})
    for step in range(40, 60):
        trackers.log(step, {"raise": 2})  # each for a reason of its own
    trackers.close(FINISHED)
    assert notes(run) == ["30 {'loss': 1.0}", "finished  {'validation_loss': 0.5}"]
    assert trackers.problems == {"tracker toy": 22}
    assert trackers.reasons == {"tracker toy": "no such figure"}
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings[0] == "tracker toy misses figures: no such figure (told once)"
    assert len(warnings) == 10


def test_a_tracker_whose_process_cannot_be_started_loses_all(
    run: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(run.folder / "no python"))
    trackers = Trackers(["toy"], run, 0)
    trackers.log(10, {"loss": 1.0})
    trackers.close(FINISHED)
    assert trackers.problems == {"tracker toy": 3}  # the start, a line, the end
    reason = "its process could not be started: No such file or directory"
    assert trackers.reasons == {"tracker toy": reason}


def test_a_tracker_that_cannot_begin_is_told_with_its_reason(run: Tracked) -> None:
    broken = dataclasses.replace(run, values={"broken": True})
    trackers = Trackers(["toy"], broken, 0)
    trackers.log(10, {"loss": 1.0})
    trackers.close(FINISHED)
    assert trackers.problems == {"tracker toy": 1}
    assert trackers.reasons == {"tracker toy": "no key for the server"}


def test_a_tracker_that_dies_is_told_and_training_goes_on(run: Tracked) -> None:
    trackers = Trackers(["toy"], run, 0)
    trackers.log(10, {"die": 1})

    def noticed() -> bool:
        trackers.log(20, {"loss": 1.0})
        return bool(trackers.problems)

    wait_for(noticed)
    trackers.close(FINISHED)
    assert trackers.reasons == {"tracker toy": "its process is gone"}


def test_a_tracker_that_hangs_delays_nothing_and_dies_with_all_it_started(
    run: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SECONDS_TO_END", 0.2)
    monkeypatch.setattr(feed, "_MOST_WAITING", 50)
    trackers = Trackers(["toy"], run, 0)
    trackers.log(10, {"hang": 1})
    wait_for(lambda: notes(run))
    for step in range(20, 10_000):  # more than fits into the pipe and the queue
        trackers.log(step, {"loss": 1.0, "a_figure_with_a_long_name": 1.0})
    trackers.close(FINISHED)
    assert trackers.problems["tracker toy"] > 1
    assert trackers.reasons == {"tracker toy": "50 lines wait for it already"}
    process, _, child = (run.folder / "toy.txt").read_text().split()
    assert gone(int(process))
    wait_for(lambda: gone(int(child)))


def kill_the_root(run: Tracked, figure: str) -> int:
    """Kills a group root whose tracker has had a figure; returns the process of the tracker."""
    root = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(run.directory), figure],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    assert root.stdout is not None
    assert root.stdout.readline() == b"started\n"
    wait_for(lambda: notes(run))
    root.kill()
    root.wait()
    return int((run.folder / "toy.txt").read_text().split()[0])


def test_the_tracker_of_a_killed_process_notes_that_and_ends(run: Tracked) -> None:
    process = kill_the_root(run, "loss")
    wait_for(lambda: gone(process))
    assert notes(run) == ["10 {'loss': 1.5}", "killed the process of the group root is gone {}"]


def test_a_tracker_that_hangs_ends_with_a_killed_process_too(run: Tracked) -> None:
    process = kill_the_root(run, "hang")
    child = int(notes(run)[0].split()[1])
    wait_for(lambda: gone(process) and gone(child))


class NeedsMore(Tracker):
    """A tracker whose library is not installed."""

    NEEDS: ClassVar[Mapping[str, str]] = {
        "json": "hvcod[json]",
        "a_module_that_nobody_has": "hvcod[nobody]",
    }

    def begin(self) -> str:
        return ""

    def log(self, step: int, figures: object) -> None:
        pass

    def close(self, ending: Ending) -> str:
        return ""


def test_an_absent_library_is_named_with_what_brings_it() -> None:
    with TRACKERS.added("needy", NeedsMore):
        with pytest.raises(UsageError, match=r"^--tracker needy needs: pip install 'hvcod\[nobody"):
            check_trackers(["tensorboard", "needy"], Path("runs/é"))
        check_trackers(["tensorboard"], Path("runs/é"))


def test_a_directory_that_libraries_would_take_for_another_one_is_refused() -> None:
    odd = Path("runs/r\udcff")
    check_trackers([], odd)
    with pytest.raises(UsageError, match=r"^--tracker needs a run directory whose name is UTF-8"):
        check_trackers(["tensorboard"], odd)
