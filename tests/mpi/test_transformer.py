"""The language model with Transformer layers, on real ranks: the same loop, exchange and resume."""

import json
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer
from mpi import test_resume
from mpi.test_resume import finished

STEPS = 40
SMALL = {
    "steps": STEPS,
    "batch_size": 4,
    "seed": 7,
    "log_interval": 1,
    "save_interval": 100,
    "validation_interval": 40,
    "validation_examples": 128,
    "model.kind": "transformer",
    "model.hidden": 32,
    "model.heads": 4,
    "model.memory": 70,  # no multiple of a window
    "model.layers": 2,
    "model.embedding": 16,
    "model.dropout": 0.1,
    "optimizer.learning_rate": 0.01,
    "optimizer.warmup": 10,
    "codistill.exchange_interval": 10,
    "codistill.burn_in": 20,
}


def command(data: Path, run: Path, *more: object, **changed: object) -> list[object]:
    return test_resume.command(data, run, *more, **(SMALL | changed))


def logged(run: Path, group: int = 0) -> list[dict[str, Any]]:
    text = (run / f"group-{group}/metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if "loss" in line]


def test_a_stopped_pair_of_groups_goes_on_exactly_its_teachers_memories_too(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    exact = ["--groups", 2, "--staleness", "exact"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    expected = finished(fast_mpirun, 4, command(tiny_data, whole, *exact))
    # Before the student's memory is full; and before that of the teacher is, of step 21 on.
    for steps in (1, 22, STEPS):
        summaries = finished(fast_mpirun, 4, command(tiny_data, run, *exact, steps=steps))
    assert [x["weights"] for x in summaries] == [x["weights"] for x in expected]
    for group in range(2):
        assert [x["loss"] for x in logged(run, group)] == [x["loss"] for x in logged(whole, group)]
        taught = [line for line in logged(run, group) if line["teachers"]]
        assert len(taught) == STEPS - 20
        assert all(line["distill_loss"] > 0 for line in taught)


def test_other_ranks_go_on_with_the_same_memories(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    # Without dropout only the order of sums differs.
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    finished(fast_mpirun, 1, command(tiny_data, whole, model__dropout=0, batch_size=8))
    for ranks, steps in ((4, 10), (1, 25), (2, STEPS)):
        changed = {"model__dropout": 0, "batch_size": 8 // ranks, "steps": steps}
        finished(fast_mpirun, ranks, command(tiny_data, parted, **changed))
    for there, here in zip(logged(whole), logged(parted), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-4)


def test_two_groups_learn_more_than_frequencies(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    exact = ["--staleness", "exact"]
    changed = {"steps": 200, "validation_interval": 200, "batch_size": 8, "log_interval": 50}
    words = command(tiny_data, tmp_path / "run", "--groups", 2, *exact, model__dropout=0, **changed)
    for each in finished(fast_mpirun, 2, words):
        assert each["exchanges"] > 1
        assert each["validation_loss"] < each["reference"]["unigram_entropy"] - 0.3


def test_heads_that_do_not_fit_are_wrong_usage(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = command(tiny_data, tmp_path / "run", model__heads=3)
    done = fast_mpirun(2, *words, check=False)
    assert done.returncode == 2
    assert "model.hidden=32 of a transformer must be a multiple of twice model.heads=3" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr
