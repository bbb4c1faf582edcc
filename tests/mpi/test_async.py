"""Asynchronous SGD of several ranks; one rank is in tests/training/sgd."""

import json
import os
import signal
from pathlib import Path

import pytest
from conftest import MpiRun
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines, losses, wait_for


def test_updates_in_a_written_order_are_those_of_plain_pytorch(fast_mpirun: MpiRun) -> None:
    assert fast_mpirun(2, "stale.py").stdout == "ok\n"


def test_an_mpi_without_one_sided_communication_is_named(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = command(tiny_data, tmp_path / "run", sgd="async")
    no_threads = {"OMPI_MCA_osc": "pt2pt"}
    done = fast_mpirun(2, *words, check=False, env=no_threads)
    assert done.returncode == 1
    assert "hvcod: this MPI gives the ranks of a group no one-sided access" in done.stderr
    assert "Traceback" not in done.stderr


def test_groups_whose_ranks_go_at_paces_of_their_own_teach_each_other_stop_and_go_on(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = [*command(tiny_data, run, sgd="async"), "--groups", 2]
    launch = fast_mpirun.start(4, *words, "--steps", 1_000_000)
    wait_for(
        launch, lambda: all(lines(run, g) and lines(run, g)[-1].get("teachers") for g in (0, 1))
    )
    # One rank of each group is told.
    for rank in (1, 2):
        os.kill(launch.rank_process(rank), signal.SIGTERM)
    output, errors = launch.communicate(timeout=120)
    assert launch.returncode == 75, errors
    stopped = json.loads(output)
    for group, summary in enumerate(stopped):
        assert summary["ended"] == "preempted"
        assert sum(summary["updates"]) == 2 * summary["steps"]
        assert 0 <= summary["gradient_staleness"] <= summary["largest_gradient_staleness"]
        # A line has no loss if no update was made, or none has been heard of.
        logged = [line for line in lines(run, group) if "learning_rate" in line]
        assert [line["step"] for line in logged] == list(range(1, summary["steps"] + 1))
        measured = [line["gradient_staleness"] for line in logged if "gradient_staleness" in line]
        assert measured
        assert min(measured) >= 0
        measured += [line["largest_gradient_staleness"] for line in logged]
        assert max(measured) <= summary["largest_gradient_staleness"]
    last = 5 + max(summary["steps"] for summary in stopped)
    for before, summary in zip(
        stopped, finished(fast_mpirun, 4, [*words, "--steps", last]), strict=True
    ):
        assert (summary["steps"], summary["restarts"]) == (last, 1)
        assert sum(summary["updates"]) == 2 * (last - before["steps"])


@pytest.mark.usefixtures("long")
def test_other_ranks_go_on_with_the_weights_and_averages_of_a_state(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for life, (ranks, steps) in enumerate([(2, 20), (4, 40), (1, 50), (2, 60)]):
        words = command(tiny_data, run, sgd="async", batch_size=8 // ranks, steps=steps)
        (summary,) = finished(fast_mpirun, ranks, words)
        assert (summary["steps"], summary["restarts"]) == (steps, life)
        assert len(summary["updates"]) == ranks
    assert losses(run)[-1][1] < losses(run)[0][1]


@pytest.mark.usefixtures("long")
def test_one_rank_whose_gradient_is_not_finite_ends_the_group_or_skips_its_update(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = command(tiny_data, tmp_path / "run", sgd="async")[1:]
    program = ["diverges.py", 0, 10, ""]  # the tenth update of the last rank
    done = fast_mpirun(2, *program, *words, check=False)
    assert done.returncode == 1
    (failed,) = json.loads(done.stdout)
    assert failed["ended"] == "failed"
    assert "the gradient is nan at step" in failed["reason"]
    assert "Traceback" not in done.stderr
    words = command(tiny_data, tmp_path / "other", "--nonfinite", "skip", sgd="async")[1:]
    (summary,) = json.loads(fast_mpirun(2, *program, *words).stdout)
    assert (summary["ended"], summary["skipped"]) == ("finished", 1)
    assert sum(summary["updates"]) == 2 * 60 - 1


@pytest.mark.usefixtures("long")
def test_a_rank_that_dies_takes_the_launch_along(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(tiny_data, run, sgd="async", steps=1_000_000)
    launch = fast_mpirun.start(3, *words)
    wait_for(launch, lambda: losses(run))
    launch.kill_rank(1)
    launch.communicate(timeout=120)
    assert launch.returncode != 0
