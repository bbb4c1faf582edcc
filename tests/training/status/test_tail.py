"""The end of a metrics file is read for the status of a group."""

import time
from pathlib import Path

import pytest
from training.status.handmade import Line, event_line, started, training, validation

from hvcod.training.record.lines import to_line
from hvcod.training.status.tail import Tail, read_tail


def tail_of(path: Path, lines: list[Line], rest: bytes = b"") -> Tail:
    path.write_bytes(b"".join(map(to_line, lines)) + rest)
    return read_tail(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_an_empty_file_says_nothing(path: Path) -> None:
    assert tail_of(path, []) == Tail()


def test_the_newest_of_each_kind(path: Path) -> None:
    lines = [started(), training(10), training(20), validation(20, 4.5), training(30)]
    tail = tail_of(path, lines, b'{"step": 40, "task_lo')
    assert tail.step == 30
    assert tail.losses == training(30)
    assert tail.validation == validation(20, 4.5)
    assert [line["step"] for line in tail.recent] == [30, 20, 10]
    assert tail.restarts == 0
    assert tail.ending == {}


def test_the_pace_is_that_of_the_last_twenty_lines(path: Path) -> None:
    slow = [training(step, wall_s=step * 10.0) for step in range(10, 500, 10)]
    fast = [training(step, wall_s=5000 + step / 4) for step in range(500, 700, 10)]
    assert tail_of(path, [started(), *slow, *fast]).steps_per_s == pytest.approx(4.0)


def test_the_pace_is_that_of_this_life(path: Path) -> None:
    lines = [started(), training(10, wall_s=1000.0), started(1, 10), training(20, wall_s=1002.0)]
    assert tail_of(path, lines).steps_per_s == pytest.approx(1 / 0.4)  # its only line's own word
    lines.append(training(30, wall_s=1004.0))
    assert tail_of(path, lines).steps_per_s == pytest.approx(5.0)
    assert tail_of(path, [started()]).steps_per_s is None


def test_a_clock_that_stands_still_gives_no_pace(path: Path) -> None:
    assert tail_of(path, [training(10, wall_s=1.0), training(20, wall_s=1.0)]).steps_per_s is None


@pytest.mark.parametrize("event", ["finished", "preempted", "failed"])
def test_an_ending_counts_until_the_group_goes_on(path: Path, event: str) -> None:
    lines = [started(), training(10), event_line(10, event, reason="why")]
    assert tail_of(path, lines).ending["event"] == event
    assert tail_of(path, [*lines, validation(10)]).ending["reason"] == "why"
    resumed = tail_of(path, [*lines, started(3, 10)])
    assert resumed.ending == {}
    assert resumed.restarts == 3
    assert resumed.recent == []
    assert resumed.losses == training(10)


def test_troubles_are_those_of_the_newest_line(path: Path) -> None:
    bad = {"problems": {"group 1: damaged": 3}, "reasons": {"group 1: damaged": "/x: digest"}}
    tail = tail_of(path, [started(), training(10, **bad), validation(10)])
    assert (tail.problems, tail.reasons) == (bad["problems"], bad["reasons"])
    assert tail_of(path, [started(), training(10, **bad), started(1, 10)]).problems == {}


def test_lines_of_skipped_steps_have_no_losses(path: Path) -> None:
    skipped = {k: v for k, v in training(20).items() if "loss" not in k}
    tail = tail_of(path, [started(), training(10), skipped])
    assert tail.step == 20
    assert tail.losses == training(10)
    assert tail.recent[0] == skipped


def test_garbage_is_passed_over(path: Path) -> None:
    parts = [to_line(started()), b"\0" * 9000 + b"\n", to_line(training(10)), b"\xff{}\n"]
    path.write_bytes(b"".join(parts) + b'{"step": 20, "step_s": "fast", "teachers": 7}\n')
    tail = read_tail(path)
    assert tail.step == 20
    assert tail.losses == training(10)
    assert tail.steps_per_s is None


def test_a_huge_file_is_read_from_its_end_only(path: Path) -> None:
    # 10 GB of nothing in front of it, which takes no room on disk.
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(10 * 10**9)
        file.seek(0, 2)
        lines = [started(), *(training(step) for step in range(10, 30_000, 10))]
        file.write(b"".join(map(to_line, lines)))
    begun = time.process_time()
    tail = read_tail(path)
    assert time.process_time() - begun < 1
    assert tail.step == 29_990
    assert tail.validation == {}
    assert tail.restarts is None  # further back than it looks
