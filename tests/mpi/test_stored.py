"""A teacher's predictions are stored by several ranks, and teach groups of several ranks."""

import json
import time
from pathlib import Path

import pytest
from forkserver.launches import ForkServer

from hvcod.training.stored.store import is_store

SMALL = ("--set", "model.hidden=16", "--set", "model.embedding=8", "--batch-size", 4)


@pytest.fixture(scope="module")
def teacher(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("stored") / "teacher"
    words = ["hvcod", "train", "--data", tiny_data, "--run-dir", run, "--steps", 4, *SMALL]
    fast_mpirun(0, *words, "--validation-examples", 16)
    return run


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_store_made_by_two_ranks_teaches_two_groups_of_two_ranks(
    fast_mpirun: ForkServer, tiny_data: Path, teacher: Path, tmp_path: Path
) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    done = fast_mpirun(
        2, "hvcod", "predict", teacher, "--teacher-store", store, "--sample", 5, "--json"
    )
    assert json.loads(done.stdout)["bytes"] == json.loads(done.stdout)["predictions"] * 10
    words = ["hvcod", "train", "--data", tiny_data, "--run-dir", run, "--steps", 8, "--groups", 2]
    words += ["--burn-in", 2, "--staleness", "exact", "--exchange-interval", 3, "--log-interval", 1]
    done = fast_mpirun(4, *words, *SMALL, "--validation-examples", 16, "--teacher", store, "--json")
    assert {group["ended"] for group in json.loads(done.stdout)} == {"finished"}
    lines = (run / "group-1/metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines if '"teachers"' in line]
    used = {line["step"]: line["teachers"] for line in metrics if "distill_loss" in line}
    assert used[2] == {}
    assert used[3] == {"store store": None}
    assert used[8] == {"store store": None, "0": 3}
    assert all(line["distill_loss"] > 0 for line in metrics if line["step"] > 2)


def test_a_store_whose_ranks_are_killed_is_finished_with_the_same_bytes(
    fast_mpirun: ForkServer, teacher: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--long"):
        pytest.skip("kills launches for a minute: --long")
    words = ["hvcod", "predict", teacher, "--sample", 5, "--teacher-store"]
    whole = tmp_path / "whole"
    fast_mpirun(2, *words, whole)
    for files in (0, 1, 3):
        store = tmp_path / f"killed-{files}"
        launch = fast_mpirun.start(2, *words, store)
        while len(list((store / "shards").glob("*.h5"))) < files + 1:
            assert launch.poll() is None, "the launch has ended"
            time.sleep(0.001)
        launch.kill_all()
        assert not is_store(store)
        fast_mpirun(1 + files % 2, *words, store)
        assert content(store) == content(whole)
