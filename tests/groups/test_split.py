"""Groups of one rank, and the parts of the split that need no second one."""

import pytest
import torch
from mpi4py import MPI

from hvcod.errors import UsageError
from hvcod.groups.communicator import Alone
from hvcod.groups.environment import path_of_group
from hvcod.groups.split import split


def test_one_process_is_a_world_of_one() -> None:
    group = split(MPI.COMM_WORLD)
    assert (group.index, group.count, group.rank, group.size) == (0, 1, 0, 1)


def test_a_launch_can_be_one_group_of_several() -> None:
    group = split(MPI.COMM_WORLD, groups=3, only=2)
    assert (group.index, group.count, group.rank, group.size) == (2, 3, 0, 1)


def test_a_launch_that_is_not_a_group_of_the_run_is_refused() -> None:
    with pytest.raises(UsageError, match="no group 2: the 2 groups are 0 to 1"):
        split(MPI.COMM_WORLD, groups=2, only=2)


def test_the_message_names_sizes_that_work() -> None:
    with pytest.raises(UsageError, match=r"use 3 ranks, or with 1 ranks as many groups as 1$"):
        split(MPI.COMM_WORLD, groups=3)


def test_a_group_needs_a_rank_that_trains() -> None:
    with pytest.raises(UsageError, match="1 rank has none left to train; start at least 2"):
        split(MPI.COMM_WORLD, teacher_ranks=1)


def test_the_seat_of_a_trainer_is_its_view_of_the_group() -> None:
    seat = split(MPI.COMM_WORLD, groups=3, only=2).seat(0)
    assert (seat.role, seat.index, seat.rank, seat.shard, seat.shards) == ("trainer", 2, 0, 2, 3)
    assert seat.everyone == Alone()


def test_the_files_of_horovod_get_the_name_of_the_group() -> None:
    assert path_of_group("/a/time.json", 3) == "/a/time.group-3.json"


def test_seeds_differ_between_groups_ranks_and_runs_and_fit_torch() -> None:
    groups = [split(MPI.COMM_WORLD, groups=3, only=index) for index in range(3)]
    run_seeds = (0, 1, 20_261_122_184_750)
    found = [
        group.seed(seed, *more) for group in groups for seed in run_seeds for more in ((), (1,))
    ]
    assert len(set(found)) == len(found)
    for seed in found:
        torch.manual_seed(seed)
    assert groups[1].seed(7) == groups[1].seed(7)
