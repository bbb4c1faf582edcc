"""Metrics: means, and what a full disk costs."""

import json
import logging
from pathlib import Path

import pytest
import torch
from mpi4py import MPI

from hvcod.training.metrics import Means, MetricsFile


def test_means_since_the_last_call() -> None:
    means = Means()
    means.add(loss=torch.tensor(1.0), step_s=0.5)
    means.add(loss=torch.tensor(2.0), step_s=1.5)
    assert means.take(MPI.COMM_SELF) == {"loss": 1.5, "step_s": 1.0}
    means.add(loss=7.0, step_s=0.0)
    assert means.take(MPI.COMM_SELF) == {"loss": 7.0, "step_s": 0.0}


def test_one_object_a_line(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    lines: list[dict[str, object]] = [{"step": 1, "loss": 2.5}, {"step": 2, "teachers": {1: 50}}]
    for line in lines:
        file.write(line)
    file.close()
    read = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert read == [lines[0], {"step": 2, "teachers": {"1": 50}}]


def test_a_full_disk_costs_lines_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    file = MetricsFile(Path("/dev/full"))
    with caplog.at_level(logging.WARNING, "hvcod.training"):
        for step in range(3):
            file.write({"step": step})
        file.close()
    assert [record.getMessage() for record in caplog.records] == [
        "metrics are being lost: /dev/full: No space left on device"
    ]
