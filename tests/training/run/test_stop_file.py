"""A file in the run directory stops a training where signals do not."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcod.training.run import stop_file
from hvcod.training.run.stop_file import StopFile, ask_to_stop, watched
from hvcod.training.signals import SIGNALS, StopSignals


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield StopSignals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_file_that_was_there_before_is_no_request(tmp_path: Path) -> None:
    first = StopFile(tmp_path)
    assert not first.is_new()
    ask_to_stop(tmp_path)
    later = StopFile(tmp_path)
    assert (first.is_new(), later.is_new()) == (True, False)
    ask_to_stop(tmp_path)
    assert later.is_new()


def test_all_runs_of_a_study_that_are_in_training_are_asked(tmp_path: Path) -> None:
    trained, ended = tmp_path / "runs/t/retrains/dnn/001", tmp_path / "retrains/dnn/002"
    (trained / "group-0").mkdir(parents=True)
    (ended / "group-0").mkdir(parents=True)
    (trained / "group-0/owner.json").touch()
    assert ask_to_stop(tmp_path) == [trained]
    assert [path.parent for path in sorted(tmp_path.rglob("stop"))] == [trained, tmp_path]


def test_it_counts_as_a_signal(
    tmp_path: Path, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_file, "LOOK", 0.01)
    with watched(tmp_path, signals):
        before = signals.received
        ask_to_stop(tmp_path)
        while not signals.received:
            time.sleep(0.005)
    assert (before, signals.received) == ("", "hvcod job stop")
