"""A group whose published weights are finite, but useless, harms nobody."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines, weights
from tensorfile.crafting import encode

from hvcod.exchange import published_directory
from hvcod.files.whole import write_whole
from hvcod.tensorfile.decode import decode_tensors
from hvcod.tensorfile.steps import checkpoint_path
from hvcod.training.status.collect import collect

DIVERGED, WORSE = 20, 40
"""Steps of the weights that group 0 learns from in its steps 31 to 40, and 51 to 60."""


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


def spoil(run: Path, step: int, factor: float) -> Path:
    """Scales the weights of group 1 at a step: what a diverging group may publish."""
    path = checkpoint_path(published_directory(run, 1), step)
    origin, tensors = decode_tensors(path.read_bytes())
    floats = {n: t.float() * factor for n, t in tensors.items() if t.is_floating_point()}
    path.unlink()
    write_whole(path, encode(tensors | floats, origin))
    return path


def test_useless_teachers_are_named_and_left_out_by_all_ranks_of_their_student(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    teacher: Path,
    tmp_path: Path,
    scale: Callable[[int, int], int],
) -> None:
    for limit in (2.0, None)[: scale(1, 2)]:
        stops = (31, 32, 35, 51)[: scale(0, 4)]
        check(fast_mpirun, tiny_data, teacher, tmp_path / str(limit), limit, stops)


def check(
    server: ForkServer,
    data: Path,
    teacher: Path,
    folder: Path,
    limit: float | None,
    stops: Sequence[int],
) -> None:
    """Trains group 0, also with stops after some steps, which must not change a bit."""
    run = shutil.copytree(teacher, folder / "run")
    diverged, worse = spoil(run, DIVERGED, 1e24), spoil(run, WORSE, 1000)
    shutil.copytree(run, folder / "copy")
    more = {"codistill__teacher_limit": limit} if limit else {}
    (summary,) = finished(server, 2, words(data, run, 0, **more))
    # The validation after step 50 comes first.
    over = {"group 1: beyond --teacher-limit": 1} if limit else {}
    problems = {"group 1: not finite": 1, "group 1: far worse": 1, **over}
    assert summary["problems"] == problems
    assert collect(run).groups[0].problems == problems
    reasons = lines(run)[-1]["reasons"]
    told = "its loss is nan, this group's" if limit else "in step 31 its logits are NaN or infinite"
    assert reasons["group 1: not finite"].startswith(f"{diverged}: {told}")
    assert all(reasons[kind].startswith(f"{worse}: its loss is ") for kind in [*problems][1:])

    steps = {line["step"]: line for line in lines(run) if "loss" in line}
    used = {step: line["teachers"].get("1") for step, line in steps.items()}
    # With a limit weights must be measured before they teach.
    bad = [None] * 2 if limit else [DIVERGED] * 2
    assert [used[step] for step in (30, 31, 32, 33, 40)] == [10, *bad, None, None]
    assert [used[step] for step in (41, 42, 50)] == [None if limit else 30, 30, 30]
    assert {used[step] for step in range(51, 61)} == {None if limit else WORSE}
    taught = {step for step, line in steps.items() if line["distill_loss"] > 0}
    assert taught == {step for step in used if used[step]} - {31, 32}
    assert steps[43]["teacher_losses"]["1"] < 1.2 * steps[43]["task_loss"]
    assert steps[53]["teacher_losses"]["1"] > 2 * steps[53]["task_loss"]
    first, second, *_ = [line for line in lines(run) if "validation_teachers" in line]
    assert first["validation_teachers"]["1"] == pytest.approx(first["validation_loss"], rel=0.2)
    assert second["validation_teachers"]["1"] > 2 * second["validation_loss"]
    for stop in stops:
        again = shutil.copytree(folder / "copy", folder / f"again-{stop}")
        finished(server, 2, words(data, again, 0, steps=stop, **more))
        resumed = finished(server, 2, words(data, again, 0, **more))
        assert weights(resumed) == weights([summary])
