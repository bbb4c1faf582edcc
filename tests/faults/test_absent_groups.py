"""A group that never comes, or comes back older than it was, costs the others nothing."""

import json
from pathlib import Path

from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines

from hvcod.tensorfile.steps import checkpoint_path, list_steps


def test_a_group_that_never_starts_is_mentioned_once(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = fast_mpirun(2, *command(tiny_data, run, "--groups", 2, "--group", 0, steps=80))
    (summary,) = json.loads(done.stdout)
    assert (summary["ended"], summary["exchanges"]) == ("finished", 0)
    assert done.stderr.count("group 1 has not published anything yet") == 1
    assert all(not line["teachers"] for line in lines(run) if "loss" in line)


def test_a_teacher_that_goes_on_from_an_older_step_is_not_taken_back(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--groups", 2, "--group"]
    finished(fast_mpirun, 1, command(tiny_data, run, *words, 1))
    states = run / "group-1/state"
    assert list_steps(states) == [40, 60]
    checkpoint_path(states, 60).unlink()
    # It trains steps 41 to 60 again, and publishes 50 and 60 that are there already, beside a
    # group that holds its step 60.
    teacher = fast_mpirun.start(1, *command(tiny_data, run, *words, 1, steps=100))
    finished(fast_mpirun, 1, command(tiny_data, run, *words, 0, steps=100))
    _, errors = teacher.communicate(timeout=120)
    assert teacher.returncode == 0, errors
    assert errors.count("resumed after step 40") == 1
    assert errors.count("exists already and is kept") == 1
    taught = [line["teachers"]["1"] for line in lines(run) if line.get("teachers")]
    assert taught[0] >= 60
    assert taught == sorted(taught)
