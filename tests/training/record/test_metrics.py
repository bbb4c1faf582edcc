"""Metrics: means, and what disks that are full, slow or gone cost."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mpi4py import MPI
from training.conftest import Limit

from hvcod.errors import HvcodError
from hvcod.files.appender import Appender
from hvcod.groups.split import split
from hvcod.training.record import lines, metrics
from hvcod.training.record.means import Means
from hvcod.training.record.metrics import MetricsFile


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A file system that takes nothing until the event is set."""
    event = threading.Event()
    append = Appender.append

    def wait(self: Appender, record: bytes) -> None:
        event.wait(30)
        append(self, record)

    monkeypatch.setattr(Appender, "append", wait)
    yield event
    event.set()


def test_means_since_the_last_call() -> None:
    means = Means("test")
    means.add(loss=torch.tensor(1.0), step_s=0.5)
    means.add(loss=torch.tensor(2.0), step_s=1.5)
    assert means.take(split(MPI.COMM_SELF)) == {"loss": 1.5, "step_s": 1.0}
    means.add(loss=7.0, step_s=0.0)
    assert means.take(split(MPI.COMM_SELF)) == {"loss": 7.0, "step_s": 0.0}


def test_one_object_a_line(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    written: list[dict[str, object]] = [{"step": 1, "loss": 2.5}, {"step": 2, "teachers": {1: 50}}]
    for line in written:
        file.write(line)
    assert file.close()
    assert read(tmp_path / "metrics.jsonl") == [written[0], {"step": 2, "teachers": {"1": 50}}]


def test_a_line_is_there_soon_not_only_at_the_end(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write({"step": 1})
    end = time.monotonic() + 120
    while not (tmp_path / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < end
        time.sleep(0.01)
    file.close()


def test_what_was_handed_over_may_change_afterwards(
    tmp_path: Path, blocked: threading.Event
) -> None:
    file, teachers = MetricsFile(tmp_path / "metrics.jsonl"), {1: 50}
    file.write({"step": 60, "teachers": teachers})
    teachers[1] = 100
    blocked.set()
    file.close()
    assert read(tmp_path / "metrics.jsonl") == [{"step": 60, "teachers": {"1": 50}}]


def test_a_full_disk_costs_lines_and_is_told_once(
    tmp_path: Path, disk: Limit, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    disk(1000)
    with caplog.at_level(logging.WARNING, "hvcod.training"):
        for step in range(100):
            file.write({"step": step, "text": "x" * 50})
        end = time.monotonic() + 120
        while file.lost < 80:
            assert time.monotonic() < end
            time.sleep(0.01)
        disk(None)
        time.sleep(0.2)
        file.write({"step": 100})
        file.close()
    there = [line["step"] for line in read(path)]
    whole = 1000 // len(lines.to_line({"step": 10, "text": "x" * 50}))
    assert there[:whole] == list(range(whole))
    assert there[-1] == 100
    assert len(there) + file.lost == 101
    assert [record.getMessage() for record in caplog.records] == [
        f"metrics are being lost: {path}: File too large (told once)",
        f"{path}: {file.lost} lines of metrics were lost",
    ]


def test_a_file_system_that_hangs_stops_nobody(
    tmp_path: Path,
    blocked: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(metrics, "_MOST_WAITING", 50)
    hanging, hang = threading.Event(), Appender.append

    def append(self: Appender, record: bytes) -> None:
        hanging.set()
        hang(self, record)

    monkeypatch.setattr(Appender, "append", append)
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    with caplog.at_level(logging.WARNING, "hvcod.training"):
        file.write({"step": 0})
        assert hanging.wait(60)  # the thread has taken it
        for step in range(1, 61):
            file.write({"step": step})
        assert not file.close(timeout=0.2)
    assert file.lost == 10
    assert [record.getMessage() for record in caplog.records] == [
        f"metrics are being lost: {path}: 50 lines wait for the file system already (told once)",
        f"{path}: still writing after 0.2 s; gave up waiting",
        f"{path}: 10 lines of metrics were lost",
    ]
    blocked.set()
    assert file.close()
    assert [line["step"] for line in read(path)] == list(range(51))


def test_a_resumed_run_goes_on_behind_the_step_it_resumes_from(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in range(10, 60, 10):
        first.write({"step": step, "wall_s": step / 4, "life": 1})
    first.close()
    with path.open("a") as file:
        file.write('{"step": 60, "wall')
    second = MetricsFile(path, after=30)
    assert second.wall_s == 7.5
    second.write({"step": 40, "wall_s": 11.0, "life": 2})
    second.close()
    assert [(line["step"], line["life"]) for line in read(path)] == [
        (10, 1),
        (20, 1),
        (30, 1),
        (40, 2),
    ]


def test_a_new_run_begins_at_zero_seconds(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    assert file.wall_s == 0.0
    file.close()


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match=r"cannot write the metrics .*: No such file or directory"):
        MetricsFile(tmp_path / "nowhere/metrics.jsonl")
