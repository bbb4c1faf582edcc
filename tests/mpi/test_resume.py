"""Stopping and going on, from the command line: the result is that of a run that never stopped.

Kills at random moments are in tests/faults/kills.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer, Launch

from hvcod.tensorfile.steps import list_steps

STEPS = 60
SMALL = {
    "steps": STEPS,
    "batch_size": 4,
    "seed": 7,
    "log_interval": 1,
    "save_interval": 20,
    "validation_interval": 25,
    "validation_examples": 64,
    "model.hidden": 32,
    "model.embedding": 16,
    "model.dropout": 0.1,
    "codistill.exchange_interval": 10,
    "codistill.burn_in": 20,
}


def command(data: Path, run: Path, *more: object, **changed: object) -> list[object]:
    words: list[object] = ["hvcod", "train", "--data", data, "--run-dir", run, "--json", *more]
    options = SMALL | {name.replace("__", "."): value for name, value in changed.items()}
    return words + [word for key, value in options.items() for word in ("--set", f"{key}={value}")]


def finished(server: ForkServer, ranks: int, words: Sequence[object]) -> list[dict[str, Any]]:
    summaries: list[dict[str, Any]] = json.loads(server(ranks, *words).stdout)
    assert {each["ended"] for each in summaries} == {"finished"}
    return summaries


def weights(summaries: Sequence[dict[str, Any]]) -> list[str]:
    return [each["weights"] for each in summaries]


def lines(run: Path, group: int = 0) -> list[dict[str, Any]]:
    path = run / f"group-{group}/metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def losses(run: Path, group: int = 0) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in lines(run, group) if "loss" in line]


def wait_for(launch: Launch, condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert launch.poll() is None, "the launch ended early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def stopped(
    server: ForkServer, ranks: int, words: Sequence[object], run: Path, step: int, number: int
) -> tuple[list[dict[str, Any]], str]:
    """Starts, sends a signal to all ranks once a step is logged; summaries and errors."""
    launch = server.start(ranks, *words)
    wait_for(launch, lambda: any(done >= step for done, _ in losses(run)))
    for process in launch.processes().values():
        os.kill(process, number)
    output, errors = launch.communicate(timeout=120)
    assert launch.returncode == 75, errors
    return json.loads(output), errors


@pytest.fixture(scope="module")
def undisturbed(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """Two ranks that trained without a stop."""
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    return run, finished(fast_mpirun, 2, command(tiny_data, run, log_interval=3))


Undisturbed = tuple[Path, list[dict[str, Any]]]


def test_each_signal_stops_at_a_step_and_the_same_command_goes_on_exactly(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    # Stopped between two lines, the next one is still a mean over three steps.
    run = tmp_path / "run"
    words = command(tiny_data, run, log_interval=3)
    wanted = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    for number, step in zip(wanted, (5, 20, 35), strict=True):
        summaries, errors = stopped(fast_mpirun, 2, words, run, step, number)
        (summary,) = summaries
        assert summary["ended"] == "preempted"
        assert summary["reason"] == number.name
        # Saved where it stopped, not where the interval ends.
        assert list_steps(run / "group-0/state")[-1] == summary["steps"] < STEPS
        assert f"stopped for {number.name} and saved step {summary['steps']}" in errors
        assert lines(run)[-1]["event"] == "preempted"
    summaries = finished(fast_mpirun, 2, words)
    assert summaries[0]["restarts"] == 3
    assert weights(summaries) == weights(undisturbed[1])
    assert losses(run) == losses(undisturbed[0])
    walls = [line["wall_s"] for line in lines(run)]
    assert walls == sorted(walls)


def test_a_finished_run_is_finished(
    fast_mpirun: ForkServer, tiny_data: Path, undisturbed: Undisturbed
) -> None:
    run, before = undisturbed
    logged = losses(run)
    again = finished(fast_mpirun, 2, command(tiny_data, run))
    assert weights(again) == weights(before)
    assert again[0]["validation_loss"] == before[0]["validation_loss"]
    assert losses(run) == logged


def test_more_steps_go_on_as_one_run(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    run = tmp_path / "run"
    finished(fast_mpirun, 2, command(tiny_data, run, steps=30))
    assert weights(finished(fast_mpirun, 2, command(tiny_data, run))) == weights(undisturbed[1])
    refused = fast_mpirun(2, *command(tiny_data, run, seed=8), check=False)
    assert refused.returncode == 1
    assert "belongs to a run with seed=7, this one has seed=8" in refused.stderr


def test_other_ranks_share_the_same_examples_in_the_same_order(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    # Without dropout only the order of sums differs.
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    finished(fast_mpirun, 2, command(tiny_data, whole, model__dropout=0))
    for ranks, steps in ((2, 20), (4, 40), (1, STEPS)):
        finished(fast_mpirun, ranks, command(tiny_data, parted, model__dropout=0, steps=steps))
    for (step, loss), (same_step, same_loss) in zip(losses(whole), losses(parted), strict=True):
        assert step == same_step
        assert same_loss == pytest.approx(loss, rel=1e-4)
    refused = fast_mpirun(3, *command(tiny_data, parted, model__dropout=0), check=False)
    assert refused.returncode == 1
    assert "8 examples a step, which 3 ranks per group cannot share" in refused.stderr


def test_the_time_limit_saves_and_ends_the_run(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(tiny_data, run, "--time-limit", "3s", steps=1_000_000)
    done = fast_mpirun(2, *words, check=False)
    assert done.returncode == 75, done.stderr
    (summary,) = json.loads(done.stdout)
    assert summary["reason"] == "the time limit"
    assert list_steps(run / "group-0/state")[-1] == summary["steps"]


def test_two_groups_with_exact_teachers_end_alike_after_a_stop(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    exact = ["--groups", 2, "--staleness", "exact"]
    run, other = tmp_path / "run", tmp_path / "other"
    expected = finished(fast_mpirun, 2, command(tiny_data, other, *exact))
    words = command(tiny_data, run, *exact)
    stopped(fast_mpirun, 2, words, run, 33, signal.SIGTERM)
    assert weights(finished(fast_mpirun, 2, words)) == weights(expected)
    for group in range(2):
        assert losses(run, group) == losses(other, group)
        used = {x["step"]: x["teachers"] for x in lines(run, group) if x.get("teachers")}
        assert list(used) == list(range(21, STEPS + 1))
        # After k steps, a multiple of the interval: the teacher of k - 10, for ten steps.
        assert all(
            teachers == {str(1 - group): (step - 1) // 10 * 10 - 10}
            for step, teachers in used.items()
        )


def test_exact_teachers_are_not_waited_for_for_ever(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--groups", 2, "--group", 0, "--staleness", "exact", "--teacher-wait", "2s"]
    done = fast_mpirun(1, *command(tiny_data, tmp_path / "run", *words), check=False)
    assert done.returncode == 1
    assert "group 0 waited 2 s for step 10 of group 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wait_for_an_exact_teacher_ends_with_the_signal(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--groups", 2, "--group", 0, "--staleness", "exact"]
    launch = fast_mpirun.start(2, *command(tiny_data, run, *words))
    # It waits at the end of step 20, which is logged only then.
    wait_for(launch, lambda: len(losses(run)) == 19)
    time.sleep(0.5)
    os.kill(launch.rank_process(1), signal.SIGTERM)  # not the rank that looks for the teacher
    launch.communicate(timeout=60)
    assert launch.returncode == 75
    assert list_steps(run / "group-0/state")[-1] == 20
    # It waits again as it is restored; when that is in vain, the group has failed, and says so.
    again = fast_mpirun(2, *command(tiny_data, run, *words, "--teacher-wait", "1s"), check=False)
    assert again.returncode == 1
    assert "hvcod: group 0 failed: group 0 waited 1 s for step 10 of group 1" in again.stderr
    (summary,) = json.loads(again.stdout)
    assert (summary["ended"], summary["steps"], summary["restarts"]) == ("failed", 20, 1)
    assert [line["event"] for line in lines(run)[-2:]] == ["resumed", "failed"]
    shown = json.loads(fast_mpirun(0, "hvcod", "status", run, "--json").stdout)
    assert shown["groups"][0]["state"] == "failed"
    assert "waited 1 s for step 10 of group 1" in shown["groups"][0]["reason"]
    assert list_steps(run / "group-0/state")[-1] == 20


def test_a_teacher_too_far_behind_is_left_out_and_told_once(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    two = ["--groups", 2, "--max-staleness", 85]
    finished(fast_mpirun, 1, command(tiny_data, run, *two, "--group", 1, steps=40))
    words = command(tiny_data, run, *two, "--group", 0, steps=180)
    done = fast_mpirun(1, *words)
    told = [line for line in done.stderr.splitlines() if "more than --max-staleness 85" in line]
    assert len(told) == 1
    used = {line["step"]: line["teachers"] for line in lines(run) if "loss" in line}
    assert used[125] == {"1": 40}
    assert used[126] == {}
    assert used[180] == {}
