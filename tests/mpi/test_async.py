"""Asynchronous SGD of several ranks; one rank is in tests/training/sgd."""

import json
import os
import signal
from pathlib import Path

from conftest import MpiRun
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines, wait_for


def test_updates_in_a_written_order_are_those_of_plain_pytorch(fast_mpirun: MpiRun) -> None:
    assert fast_mpirun(2, "stale.py").stdout == "ok\n"


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
    last = 5 + max(summary["steps"] for summary in stopped)
    for before, summary in zip(
        stopped, finished(fast_mpirun, 4, [*words, "--steps", last]), strict=True
    ):
        assert (summary["steps"], summary["restarts"]) == (last, 1)
        assert sum(summary["updates"]) == 2 * (last - before["steps"])
