"""TensorBoard's own reader finds what was tracked, whatever the disk does."""

import time
from pathlib import Path

import pytest
from training.conftest import Limit
from training.record.trackers.followed import live, of_tensorboard, tracked

from hvcod.training.record.trackers.tensorboard import TensorBoard


def test_it_sees_the_numbers_and_forgets_what_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"teachers": {1: 5}, "event": "x", "yes": True, "problems": {"a file: lost": 2}}
    lines = [{"step": step, "loss": 1.5, **more} for step in (10, 20, 30)]
    hint = live(TensorBoard, run := tracked(tmp_path), lines, "killed")
    assert hint == f"look at it with: tensorboard --logdir {tmp_path}"
    assert of_tensorboard(run.folder / "tensorboard") == {
        "loss": [(10, 1.5), (20, 1.5), (30, 1.5)],
        "teachers/1": [(10, 5), (20, 5), (30, 5)],
        "problems/a_file_lost": [(10, 2), (20, 2), (30, 2)],
    }
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)
    lines = [{"step": step, "loss": 2.5} for step in (20, 30)]
    live(TensorBoard, tracked(tmp_path, after=10), lines, "finished")
    seen = of_tensorboard(run.folder / "tensorboard")["loss"]
    assert seen == [(10, 1.5), (20, 2.5), (30, 2.5)]


def test_a_full_disk_costs_figures_and_leaves_a_file_that_is_whole(
    tmp_path: Path, disk: Limit
) -> None:
    tracker = TensorBoard(run := tracked(tmp_path))
    tracker.begin()
    disk(1200)
    lost = 0
    for step in range(100):
        try:
            tracker.log(step, {"loss": 1.0, "task_loss": 2.0})
        except OSError:
            lost += 1
    disk(None)
    tracker.log(100, {"loss": 1.0})
    seen = [step for step, _ in of_tensorboard(run.folder / "tensorboard")["loss"]]
    assert seen == [*range(100 - lost), 100]
    assert 2 < len(seen) < 50


def test_a_link_in_the_place_of_its_folder_is_refused(tmp_path: Path) -> None:
    from hvcod.files.folder import hold

    run = tracked(tmp_path / "run")
    (run.folder / "tensorboard").symlink_to(tmp_path)
    with hold(run.directory), pytest.raises(OSError, match="tensorboard is a symbolic link"):
        TensorBoard(run).begin()
