"""A user's own script under mpirun: no rank is left waiting, however the script ends."""

from pathlib import Path

import pytest
from conftest import MpiRun
from forkserver.launches import ForkServer

from hvcod.exchange import published_directory
from hvcod.tensorfile.steps import list_steps


def test_a_script_that_just_ends_has_published_its_last_weights(
    fast_mpirun: MpiRun, tmp_path: Path
) -> None:
    done = fast_mpirun(4, "script.py", "end", tmp_path)
    assert sorted(done.stdout.split("\n"))[1:] == [f"rank {each} of 4 ok" for each in range(4)]
    for group in range(2):
        assert list_steps(published_directory(tmp_path, group))[-1] == 5


@pytest.mark.parametrize(
    ("how", "shown"),
    [
        ("exception", "ValueError: a mistake in the script"),
        ("thread", "ZeroDivisionError"),
        ("error", "hvcod: the disk is full; make room [rank 2, group 1, rank 0 of 2]"),
    ],
)
def test_a_script_that_fails_on_one_rank_ends_everywhere(
    fast_mpirun: MpiRun, tmp_path: Path, how: str, shown: str
) -> None:
    done = fast_mpirun(4, "script.py", how, tmp_path, check=False)
    assert done.returncode == 1
    assert shown in done.stderr
    assert ("Traceback" in done.stderr) == (how in ("exception", "thread"))


def test_a_rank_that_skips_a_step_is_named_and_ends_the_launch(
    fast_mpirun: MpiRun, tmp_path: Path
) -> None:
    done = fast_mpirun(4, "script.py", "skips", tmp_path, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("hvcod:")]
    assert "rank 0 of group 1 has called Codistiller.step() 5 times, another rank 7 times" in line


def test_each_group_can_be_a_launch_of_its_own(fast_mpirun: ForkServer, tmp_path: Path) -> None:
    launches = [fast_mpirun.start(2, "separate.py", group, tmp_path) for group in range(2)]
    for group, launch in enumerate(launches):
        told, errors = launch.communicate(timeout=300)
        assert launch.returncode == 0, errors
        for rank in range(2):
            line = f"rank {2 * group + rank} of 4: taught by {{{1 - group}: "
            assert line in told


def test_groups_that_do_not_fit_are_told_once(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    done = fast_mpirun(3, "script.py", "end", tmp_path, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("hvcod:")]
    assert len(lines) == 1
    assert "2 groups cannot share 3 ranks: use 2 or 4 ranks" in lines[0]


def test_a_second_run_in_the_folder_of_the_first_is_told_what_to_do(
    fast_mpirun: MpiRun, tmp_path: Path
) -> None:
    fast_mpirun(2, "script.py", "end", tmp_path)
    done = fast_mpirun(2, "script.py", "end", tmp_path, check=False)
    assert done.returncode == 1
    assert f"an earlier run published in {tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr
