"""A crew trains any list of runs, such as two learning rates, and goes on with it."""

import io
import json
import logging
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hvcod.config import TrainOptions
from hvcod.errors import PREEMPTED, UsageError
from hvcod.runs.crew import RunSpec, logging_as
from hvcod.runs.options import CrewOptions, Share
from hvcod.runs.processes import Processes

PROGRAM = Path(__file__).parent / "two_rates.py"


class Recorder(Processes):
    """A crew that trains nothing and records what it was asked to train together."""

    def __init__(self, options: CrewOptions) -> None:
        self.options, self.asked = options, list[list[str]]()
        self.train_to_end = True

    def is_told_to_stop(self) -> bool:
        return False

    def train(self, runs: Any) -> bool:
        self.asked.append([run.name for run in runs])
        return self.train_to_end


def runs_of(*groups: int) -> list[RunSpec]:
    return [RunSpec(f"{n}", TrainOptions(groups=count)) for n, count in enumerate(groups)]


def test_two_learning_rates_in_processes_are_stopped_and_go_on(
    mpi_environment: Mapping[str, str], tiny_data: Path, tmp_path: Path
) -> None:
    def train(steps: int, *more: str) -> tuple[int, list[str]]:
        words = [sys.executable, PROGRAM, tiny_data, tmp_path, steps, *more]
        done = subprocess.run(
            [str(word) for word in words],
            env=dict(mpi_environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode in (0, PREEMPTED), done.stderr
        return done.returncode, done.stdout.splitlines()

    assert train(4, "stop") == (PREEMPTED, ["rate 0.01"])
    assert not (tmp_path / "0.001").exists()
    run_id = identity(tmp_path / "0.01")
    assert train(8) == (0, ["rate 0.01", "rate 0.001"])
    assert identity(tmp_path / "0.01") == run_id
    losses = {rate: losses_of(tmp_path / rate) for rate in ("0.01", "0.001")}
    assert [sorted(each) for each in losses.values()] == [[2, 4, 6, 8]] * 2
    assert losses["0.01"][8] < losses["0.001"][8]


def identity(run: Path) -> str:
    about: str = tomllib.loads((run / "config.toml").read_text())["run"]["id"]
    return about


def losses_of(run: Path) -> dict[int, float]:
    """{step: training loss} of its only group."""
    text = (run / "group-0" / "metrics.jsonl").read_text()
    lines = map(json.loads, text.splitlines())
    return {line["step"]: line["task_loss"] for line in lines if "task_loss" in line}


def test_runs_of_equally_many_groups_are_trained_together() -> None:
    crew = Recorder(CrewOptions(at_once=2))
    finished: list[str] = []
    assert crew.complete(runs_of(1, 1, 1, 2, 2), lambda run: finished.append(run.name)) == 5
    assert crew.asked == [["0", "1"], ["2"], ["3", "4"]]
    assert finished == ["0", "1", "2", "3", "4"]


def test_runs_that_were_preempted_are_not_finished() -> None:
    crew = Recorder(CrewOptions())
    crew.train_to_end = False
    assert crew.complete(runs_of(1, 1), lambda run: pytest.fail(run.name)) == 0
    assert crew.asked == [["0"]]


def test_shares_are_disjoint_and_complete() -> None:
    runs = runs_of(*[1] * 7)
    shares = [Recorder(CrewOptions(share=Share(f"{n}/3"))).share_of(runs) for n in (1, 2, 3)]
    assert [[run.name for run in share] for share in shares] == [
        ["0", "3", "6"],
        ["1", "4"],
        ["2", "5"],
    ]
    assert Recorder(CrewOptions()).share_of(runs) == runs


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", ""])
def test_texts_that_are_not_shares(text: str) -> None:
    with pytest.raises(ValueError):
        Share(text)


def test_processes_have_one_rank_each() -> None:
    with pytest.raises(UsageError, match="--ranks-per-group 2: groups of several ranks need a"):
        Processes(CrewOptions(ranks_per_group=2))


def test_what_a_run_among_several_logs_names_it() -> None:
    stream, log = io.StringIO(), logging.getLogger("hvcod.training")
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        with logging_as(Path("churn/retrains/dnn/100%")):
            log.warning("the %s is gone", "teacher")
        log.warning("all are done")
    finally:
        logging.getLogger().removeHandler(handler)
    assert stream.getvalue() == "[churn/retrains/dnn/100%] the teacher is gone\nall are done\n"
