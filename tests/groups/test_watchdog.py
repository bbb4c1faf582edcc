"""A rank that falls silent is named, and ends its launch."""

import os
import re
import signal
import time
from pathlib import Path

from filesystems.launches import SMALL, step_lines
from forkserver.launches import ForkServer

SILENCE, STEPS = 3, 100


def words(run: Path, data: Path, steps: int) -> list[object]:
    found: list[object] = ["hvcod", "train", "--data", data, "--run-dir", run, "--steps", steps]
    found += ["--silence-limit", SILENCE]
    return found + [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def test_a_stopped_rank_ends_its_launch(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run, errors = tmp_path / "run", tmp_path / "errors"
    with errors.open("w") as file:
        launch = fast_mpirun.start(3, *words(run, tiny_data, 10**6), stderr=file)
    try:
        while not step_lines(run / "group-0"):
            assert launch.poll() is None, errors.read_text()
            time.sleep(0.05)
        os.kill(launch.rank_process(1), signal.SIGSTOP)
        launch.communicate(timeout=300)
    finally:
        launch.kill_all()
    assert launch.returncode == 75
    (line,) = [each for each in errors.read_text().splitlines() if "nothing heard" in each]
    # It is the group root that knows all ranks.
    assert re.match(rf"hvcod: step \d+: nothing heard for {SILENCE} s from rank 1 \(on ", line)
    assert line.endswith("[rank 0, group 0, rank 0 of 3]")


def test_a_killed_rank_ends_its_launch_where_the_launcher_does_not(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run, errors = tmp_path / "run", tmp_path / "errors"
    long = ["--silence-limit", 10**6]
    with errors.open("w") as file:
        launch = fast_mpirun.start(2, *words(run, tiny_data, 10**6), *long, stderr=file)
    try:
        while not step_lines(run / "group-0"):
            assert launch.poll() is None, errors.read_text()
            time.sleep(0.05)
        # mpirun knows the rank by its client only.
        os.kill(launch.client_process(1), signal.SIGSTOP)
        launch.kill_rank(1)
        launch.communicate(timeout=300)
    finally:
        launch.kill_all()
    assert launch.returncode == 137
    (line,) = [each for each in errors.read_text().splitlines() if "has died" in each]
    assert re.match(r"hvcod: step \d+: rank 1 \(on .*\) of group 0 has died; the same ", line)


def test_a_launch_that_is_suspended_as_a_whole_goes_on(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    launch = fast_mpirun.start(2, *words(run, tiny_data, STEPS))
    try:
        while not step_lines(run / "group-0"):
            assert launch.poll() is None
            time.sleep(0.05)
        ranks = [launch.rank_process(rank) for rank in range(2)]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for rank in ranks:
                os.kill(rank, number)
            time.sleep(SILENCE + 1 if number == signal.SIGSTOP else 0)
        _, errors = launch.communicate(timeout=300)
    finally:
        launch.kill_all()
    assert launch.returncode == 0, errors
    assert step_lines(run / "group-0")[-1]["step"] == STEPS
