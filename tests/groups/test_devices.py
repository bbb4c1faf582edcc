"""The device of a rank; the ranks of a node are played, and torch's devices too."""

import horovod.torch as hvd
import pytest
import torch
from mpi4py import MPI

from hvcod.errors import HvcodError
from hvcod.groups.device import choose_device
from hvcod.groups.horovod import check_device
from hvcod.groups.split import Group


def groups_on_one_node(count: int, size: int) -> list[Group]:
    """Returns all ranks of `count` groups of `size`, as each sees itself, on one node."""
    comm = MPI.COMM_SELF
    return [
        Group(index, count, rank, size, comm, node_rank=index * size + rank, threads=1)
        for index in range(count)
        for rank in range(size)
    ]


def play_devices(monkeypatch: pytest.MonkeyPatch, count: int) -> list[torch.device]:
    """Lets torch see so many devices; returns the list of those that are set from here on."""
    chosen: list[torch.device] = []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # leave the threads of this process alone
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("wish", ["auto", "cuda"])
@pytest.mark.parametrize(
    ("devices", "expected"), [(4, [0, 1, 2, 3]), (8, [0, 1, 2, 3]), (2, [0, 1, 0, 1])]
)
def test_the_rank_on_the_node_picks_the_device(
    monkeypatch: pytest.MonkeyPatch, wish: str, devices: int, expected: list[int]
) -> None:
    chosen = play_devices(monkeypatch, devices)
    answered = [choose_device(group, wish) for group in groups_on_one_node(2, 2)]
    # Chosen by the rank in the group, as in Horovod's examples, it would be 0, 1, 0, 1 always.
    assert answered == [torch.device("cuda", index) for index in expected]
    assert chosen == answered  # what goes to "the current device" goes there too


def test_two_groups_of_one_rank_do_not_share_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    play_devices(monkeypatch, 2)
    one, other = (choose_device(group, "auto") for group in groups_on_one_node(2, 1))
    assert (one, other) == (torch.device("cuda:0"), torch.device("cuda:1"))


@pytest.mark.parametrize(("wish", "devices"), [("cpu", 2), ("cpu", 0), ("auto", 0)])
def test_without_devices_or_wish_for_one_it_is_the_cpu(
    monkeypatch: pytest.MonkeyPatch, wish: str, devices: int
) -> None:
    chosen = play_devices(monkeypatch, devices)
    assert choose_device(groups_on_one_node(1, 1)[0], wish) == torch.device("cpu")
    assert chosen == []


def test_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    play_devices(monkeypatch, 0)
    with pytest.raises(HvcodError, match="--device cuda: torch sees no CUDA device here"):
        choose_device(groups_on_one_node(1, 1)[0], "cuda")


@pytest.mark.parametrize("built_with", ["cuda", "rocm", ""])
def test_a_horovod_that_cannot_use_the_device_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, built_with: str
) -> None:
    monkeypatch.setattr(hvd, "cuda_built", lambda: built_with == "cuda")
    monkeypatch.setattr(hvd, "rocm_built", lambda: built_with == "rocm")
    check_device(torch.device("cpu"))
    if built_with:
        check_device(torch.device("cuda:0"))
    else:
        with pytest.raises(HvcodError, match=r"this Horovod was built without .* use --device cpu"):
            check_device(torch.device("cuda:0"))
