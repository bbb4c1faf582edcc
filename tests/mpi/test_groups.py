"""Groups, agreement and failure on real ranks, with Horovod and MPI."""

import json
from pathlib import Path

import pytest
from conftest import MpiRun


@pytest.mark.parametrize(("ranks", "groups"), [(4, 2), (3, 3), (1, 1)])
def test_groups_on_every_rank(fast_mpirun: MpiRun, ranks: int, groups: int, tmp_path: Path) -> None:
    done = fast_mpirun(ranks, "groups.py", groups, env={"HVCOD_CACHE": str(tmp_path)})
    assert done.stdout.count(" ok") == ranks


def test_the_last_ranks_of_a_group_only_teach(fast_mpirun: MpiRun) -> None:
    seen = json.loads(fast_mpirun(6, "roles.py").stdout)
    trainer = {"role": "trainer", "size": 2, "trainers": 2, "teacher_ranks": 1, "together": 2}
    teacher = trainer | {"role": "teacher", "size": 1, "together": 1}
    for group in range(2):
        common = {"group": group, "shards": 4, "seat": [2 * group, 2 * group + 1]}
        assert seen[3 * group : 3 * group + 3] == [
            trainer | common | {"rank": 0, "root": True, "polls": False},
            trainer | common | {"rank": 1, "root": False, "polls": False},
            teacher | common | {"rank": 0, "root": False, "polls": True},
        ]


def test_each_group_root_writes_its_own_timeline(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    # The gloo controller that somebody's environment asks for would crash on a communicator.
    asked = {"HOROVOD_TIMELINE": str(tmp_path / "time.json"), "HOROVOD_CONTROLLER": "gloo"}
    fast_mpirun(2, "groups.py", 2, env=asked | {"HVCOD_CACHE": str(tmp_path / "cache")})
    written = sorted(path.name for path in tmp_path.glob("*.json"))
    assert written == ["time.group-0.json", "time.group-1.json"]


def test_groups_that_do_not_divide_the_world_are_a_usage_error(fast_mpirun: MpiRun) -> None:
    done = fast_mpirun(3, "hvcod", "train", "--groups", 2, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("hvcod:")]
    assert lines == [
        "hvcod: 2 groups cannot share 3 ranks: use 2 or 4 ranks, "
        "or with 3 ranks as many groups as 1, 3"
    ]


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("how", ["exception", "error", "thread"])
def test_a_rank_that_fails_takes_its_world_down(fast_mpirun: MpiRun, how: str, rank: int) -> None:
    done = fast_mpirun(4, "fails.py", how, rank, check=False)
    assert done.returncode == 1
    place = f"rank {rank}, group {rank // 2}, rank {rank % 2} of 2"
    shown = [line for line in done.stderr.splitlines() if place in line]
    if how == "error":
        assert shown == [f"hvcod: the disk of step 7 is full; make room [{place}]"]
    else:
        raised = "ZeroDivisionError" if how == "thread" else "ValueError: a programming error"
        assert any("Traceback" in line for line in shown)
        assert any(raised in line for line in shown)


@pytest.mark.parametrize("rank", [0, 1])
def test_wrong_usage_that_one_rank_alone_sees_ends_the_launch(
    fast_mpirun: MpiRun, rank: int
) -> None:
    done = fast_mpirun(2, "fails.py", "usage", rank, check=False)
    assert done.returncode == 2
    assert "hvcod: --config here.toml: this node does not see it\n" in done.stderr


def test_an_mpirun_of_another_mpi_is_noticed(fast_mpirun: MpiRun, tmp_path: Path) -> None:
    # Open MPI's own variable is believed first.
    right = {"OMPI_COMM_WORLD_SIZE": "1", "PMI_SIZE": "4", "HVCOD_CACHE": str(tmp_path)}
    fast_mpirun(1, "groups.py", 1, env=right)
    alone = {"OMPI_COMM_WORLD_SIZE": "4"}
    done = fast_mpirun(0, "hvcod", "train", check=False, env=alone)
    assert done.returncode == 1
    assert "belongs to another MPI than mpi4py" in done.stderr
