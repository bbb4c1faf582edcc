"""Prediction exchange: teacher ranks predict what the trainers of their group train on next."""

import json
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines

PREDICTIONS = ["--exchange", "predictions", "--teacher-ranks", 1]
PROGRAM = "teacher_rank.py"


def terms(run: Path, group: int) -> dict[int, tuple[float, Any]]:
    """{step: distillation loss and the steps of the teachers} of a group."""
    steps = [line for line in lines(run, group) if "distill_loss" in line]
    return {line["step"]: (line["distill_loss"], line["teachers"]) for line in steps}


def test_predictions_are_those_of_models_at_hand_but_for_half_precision(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--groups", 2, "--staleness", "exact"]
    here, sent = tmp_path / "here", tmp_path / "sent"
    finished(fast_mpirun, 2, command(tiny_data, here, *words, steps=32))
    both = finished(fast_mpirun, 4, command(tiny_data, sent, *words, *PREDICTIONS, steps=32))
    assert {summary["missed_predictions"] for summary in both} == {0}
    for group in range(2):
        expected, found = terms(here, group), terms(sent, group)
        assert sorted(found) == list(range(1, 33))
        for step, (loss, teachers) in found.items():
            assert teachers == expected[step][1]
            assert loss == pytest.approx(expected[step][0], rel=2e-4, abs=0)
        assert found[21][1] == {str(1 - group): 10}
        assert found[32][0] > 0


def test_a_teacher_rank_that_fails_costs_its_group_the_term_only(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(tiny_data, run, "--groups", 2, *PREDICTIONS, codistill__burn_in=0)[1:]
    done = fast_mpirun(4, PROGRAM, 1, "raise", 1, *words)
    good, poor = json.loads(done.stdout)
    assert {good["ended"], poor["ended"]} == {"finished"}
    assert "teacher ranks failed" in poor["problems"]
    assert "teacher ranks failed" not in good["problems"]
    assert {loss for loss, _ in terms(run, 1).values()} == {0.0}
    assert "ValueError: there is no chalk" in lines(run, 1)[-1]["reasons"]["teacher ranks failed"]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(("how", "number"), [("stop", 12), ("sleep", 400)])
def test_a_teacher_rank_that_is_stopped_or_slow_holds_nobody_up(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    tmp_path: Path,
    how: str,
    number: int,
) -> None:
    run = tmp_path / "run"
    more = ["--groups", 2, *PREDICTIONS]
    words = command(tiny_data, run, *more, steps=120, codistill__burn_in=0)[1:]
    done = fast_mpirun(4, PROGRAM, 1, how, number, *words)
    good, poor = json.loads(done.stdout)
    assert {good["ended"], poor["ended"]} == {"finished"}
    assert poor["problems"]["steps without predictions"] > 10
    assert poor["silent_teacher_ranks"] == ([1] if how == "stop" else [])
