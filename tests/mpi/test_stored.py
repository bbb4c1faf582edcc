"""A teacher's predictions are stored by several ranks, and teach groups of several ranks."""

import json
import time
from pathlib import Path

import pytest
from forkserver.launches import ForkServer
from tasks.commoncrawl.texts import make_texts

from hvcod.training.stored.store import is_store

SMALL = ("--set", "model.hidden=16", "--set", "model.embedding=8", "--batch-size", 4)


def trained(server: ForkServer, data: Path, run: Path, ranks: int, *more: object) -> str:
    words = ["hvcod", "train", "--data", data, "--run-dir", run, "--validation-examples", 16]
    return server(ranks, *words, *SMALL, *more, "--json").stdout


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_store_made_by_two_ranks_teaches_two_groups_of_two_ranks(
    fast_mpirun: ForkServer, tmp_path: Path
) -> None:
    data, teacher, store, run = (tmp_path / name for name in ("data", "teacher", "store", "run"))
    make_texts(data, documents=150)
    trained(fast_mpirun, data, teacher, 0, "--steps", 4)
    words = ["hvcod", "predict", teacher, "--teacher-store", store, "--sample", 5, "--json"]
    report = json.loads(fast_mpirun(2, *words).stdout)
    assert report["bytes"] == 10 * report["predictions"] > 0
    flags = ["--burn-in", 2, "--staleness", "exact", "--exchange-interval", 3, "--log-interval", 1]
    flags += ["--steps", 8, "--groups", 2, "--teacher", store]
    groups = json.loads(trained(fast_mpirun, data, run, 4, *flags))
    assert {group["ended"] for group in groups} == {"finished"}
    lines = map(json.loads, (run / "group-1/metrics.jsonl").read_text().splitlines())
    steps = {line["step"]: line for line in lines if "distill_loss" in line}
    assert steps[2]["teachers"] == {}
    assert steps[3]["teachers"] == {"store store": None}
    assert steps[8]["teachers"] == {"store store": None, "0": 3}
    assert all((line["distill_loss"] > 0) == (step > 2) for step, line in steps.items())


@pytest.mark.usefixtures("long")
def test_a_store_whose_ranks_are_killed_is_finished_with_the_same_bytes(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    teacher, whole = tmp_path / "teacher", tmp_path / "whole"
    trained(fast_mpirun, tiny_data, teacher, 0, "--steps", 4)
    words = ["hvcod", "predict", teacher, "--sample", 5, "--teacher-store"]
    fast_mpirun(2, *words, whole)
    for files in (1, 2, 4):
        store = tmp_path / f"killed-{files}"
        launch = fast_mpirun.start(2, *words, store)
        while len(list((store / "shards").glob("*.h5"))) < files:
            assert launch.poll() is None, "the launch has ended"
            time.sleep(0.001)
        launch.kill_all()
        assert not is_store(store)
        fast_mpirun(1 + files % 2, *words, store)
        assert content(store) == content(whole)
