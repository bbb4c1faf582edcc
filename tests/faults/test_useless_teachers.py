"""A group whose published weights are finite, but useless, harms nobody."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines, weights

from hvcod.exchange import published_directory
from hvcod.files.whole import write_whole
from hvcod.tensorfile.decode import decode_tensors
from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.steps import checkpoint_path
from hvcod.training.status.collect import collect

INTERVAL, USELESS, LATER = 10, 20, 30
"""Group 0 learns from the weights of step 20 in its steps 31 to 40."""


def words(data: Path, run: Path, group: int, **changed: object) -> list[object]:
    changed |= {"codistill__staleness": "exact", "group_batch_size": 4}
    return command(data, run, "--groups", 2, "--group", group, **changed)


@pytest.fixture(scope="module")
def teacher(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run in which group 1 has finished, as a teacher that learns from nobody."""
    run = tmp_path_factory.mktemp("teacher")
    (run / "group-1").mkdir()
    (run / "group-1/config.toml").write_text("codistill.burn_in = 1000000\n")
    finished(fast_mpirun, 1, words(tiny_data, run, 1))
    return run


def spoil(run: Path, factor: float) -> Path:
    """Scales the weights of group 1 at a step: what a diverging group may publish."""
    path = checkpoint_path(published_directory(run, 1), USELESS)
    origin, tensors = decode_tensors(path.read_bytes())
    floats = {n: t.float() * factor for n, t in tensors.items() if t.is_floating_point()}
    path.unlink()
    write_whole(path, encode(tensors | floats, origin))
    return path


def taught(run: Path) -> dict[int, dict[str, int]]:
    return {line["step"]: line["teachers"] for line in lines(run) if "loss" in line}


def test_a_diverged_teacher_is_left_out_and_named_by_all_ranks_of_its_student(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    teacher: Path,
    tmp_path: Path,
    scale: Callable[[int, int], int],
) -> None:
    run = shutil.copytree(teacher, tmp_path / "run")
    path = spoil(run, 1e24)
    shutil.copytree(run, tmp_path / "copy")
    summaries = finished(fast_mpirun, 2, words(tiny_data, run, 0))
    assert summaries[0]["problems"] == {"group 1: not finite": 1}
    used = taught(run)
    assert [used[step] for step in (30, 31, 32)] == [{"1": 10}, {"1": 20}, {"1": 20}]
    assert all(used[step] == {} for step in range(33, 41))
    assert used[41] == {"1": LATER}
    figures = {line["step"]: line for line in lines(run) if "loss" in line}
    assert [figures[step]["distill_loss"] > 0 for step in (30, 31, 32, 41)] == [1, 0, 0, 1]
    reason = lines(run)[-1]["reasons"]["group 1: not finite"]
    assert reason.startswith(f"{path}: in step 31 its logits are NaN or infinite; left out until")
    assert collect(run).groups[0].problems == {"group 1: not finite": 1}
    for stop in (31, 32, 35)[: scale(1, 3)]:
        again = shutil.copytree(tmp_path / "copy", tmp_path / f"again-{stop}")
        finished(fast_mpirun, 2, words(tiny_data, again, 0, steps=stop))
        resumed = finished(fast_mpirun, 2, words(tiny_data, again, 0))
        assert weights(resumed) == weights(summaries)


@pytest.mark.parametrize("limit", [None, 2])
def test_a_teacher_far_worse_than_its_student_is_reported_or_left_out(
    fast_mpirun: ForkServer, tiny_data: Path, teacher: Path, tmp_path: Path, limit: int | None
) -> None:
    run = shutil.copytree(teacher, tmp_path / "run")
    path = spoil(run, 1000.0)
    more: dict[str, Any] = {} if limit is None else {"codistill__teacher_limit": limit}
    (summary,) = finished(fast_mpirun, 2, words(tiny_data, run, 0, **more))
    kind = "far worse" if limit is None else "beyond --teacher-limit"
    assert summary["problems"] == {f"group 1: {kind}": 1}
    reason = lines(run)[-1]["reasons"][f"group 1: {kind}"]
    assert reason.startswith(f"{path}: its loss is ")
    used = taught(run)
    assert all(used[step] == ({"1": USELESS} if limit is None else {}) for step in range(32, 41))
    found = [line for line in lines(run) if "teacher_losses" in line]
    worse = {line["step"]: line["teacher_losses"]["1"] / line["task_loss"] for line in found}
    assert worse[30] < 1.2
    assert worse[31] > 2
    assert worse[41] < 1.2
    (line,) = [line for line in lines(run) if "validation_teachers" in line and line["step"] == 50]
    assert line["validation_teachers"]["1"] == pytest.approx(line["validation_loss"], rel=0.2)
