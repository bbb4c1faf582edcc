"""Asynchronous SGD on one rank, which is synchronous SGD; more ranks are in tests/mpi."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.errors import GroupFailedError, UsageError
from hvcod.groups.communicator import Alone
from hvcod.groups.pace import Pace
from hvcod.groups.split import Group, split
from hvcod.registry import BASE_ALGORITHMS
from hvcod.training.sgd.asynchronous import Asynchronous
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.sgd.shard import cut
from hvcod.training.sgd.synchronous import Synchronous

STEPS, ROWS = 8, 50


class Model(nn.Module):
    """Has embedding tables, matrices and vectors, and parts that a batch does not reach."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 8, sparse=sparse)
        self.at_times = nn.Embedding(ROWS, 8, sparse=sparse)
        self.out, self.unused = nn.Linear(8, 1), nn.Linear(8, 8)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, ids: torch.Tensor, both: bool) -> torch.Tensor:
        rows = self.table(ids) + (self.at_times(ids) if both else 0)
        out: torch.Tensor = self.out(torch.tanh(rows.sum(1)))
        return out


def options(algorithm: str, **changed: Any) -> TrainOptions:
    common = OptimizerOptions(
        algorithm, learning_rate=0.1, warmup=2, schedule="linear", clip=0.05, weight_decay=0.01
    )
    chosen = replace(common, **changed)
    return TrainOptions(steps=STEPS, nonfinite="skip", batch_size=8, optimizer=chosen)


def alone() -> Group:
    return replace(split(Alone()), pace=Pace(Alone()))


def trained(
    kind: type[BaseAlgorithm], given: TrainOptions, sparse: bool, lives: int = 1
) -> Iterator[dict[str, torch.Tensor]]:
    """Yields the weights after each step, of which one is skipped and some use one table."""
    torch.manual_seed(1)
    model = Model(sparse)
    optimizer = kind(model, alone(), given)
    for step in range(STEPS):
        if lives > 1 and step and step % (STEPS // lives) == 0:
            state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            model = Model(sparse)  # with other weights
            optimizer = kind(model, alone(), given)
            model.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        torch.manual_seed(10 + step)
        for _ in optimizer.rounds():
            loss = (model(torch.randint(0, ROWS, (8, 3)), step % 3 == 0) - 1).square().mean()
            assert optimizer.step(loss * torch.nan if step == 4 else loss) == (step != 4)
        yield {name: each.clone() for name, each in model.named_parameters()}
    assert optimizer.skipped == 0 or kind is Synchronous
    with optimizer.still():
        assert optimizer.skipped == 1


CASES = [
    ("adam", {}, False),
    ("adagrad", {"initial_accumulator": 0.1}, False),
    ("sgd", {}, False),
    ("sgd", {"momentum": 0.0}, False),
    ("adam", {}, True),
    ("adagrad", {"initial_accumulator": 0.1}, True),
    ("adagrad", {"scale_batch": 4}, True),
]


@pytest.mark.parametrize(("algorithm", "changed", "sparse"), CASES)
def test_one_rank_makes_the_updates_of_synchronous_sgd(
    algorithm: str, changed: dict[str, object], sparse: bool
) -> None:
    given = options(algorithm, **changed)
    for expected, *found in zip(
        trained(Synchronous, given, sparse),
        trained(Asynchronous, given, sparse),
        trained(Asynchronous, given, sparse, lives=2),
        strict=True,
    ):
        for weights in found:
            for name, tensor in expected.items():
                assert torch.equal(weights[name], tensor), name


def test_skipped_updates_are_known_as_soon_as_a_state_is_loaded() -> None:
    model, given = Model(sparse=False), options("sgd")
    optimizer = Asynchronous(model, alone(), given)
    for _ in optimizer.rounds():
        optimizer.step(model(torch.zeros(8, 3, dtype=torch.int64), True).sum() * torch.nan)
    with optimizer.still():
        state = copy.deepcopy(optimizer.state_dict())
    resumed = Asynchronous(Model(sparse=False), alone(), given)
    resumed.load_state_dict(state)
    assert resumed.skipped == 1


def test_tables_need_an_optimiser_of_rows() -> None:
    assert BASE_ALGORITHMS.load("async") is Asynchronous
    with pytest.raises(UsageError, match="--algorithm sgd: embedding tables"):
        Asynchronous(Model(sparse=True), alone(), options("sgd"))


def test_a_gradient_that_is_not_finite_fails_the_group_when_it_stops() -> None:
    group = alone()
    model = nn.Linear(2, 1)
    optimizer = Asynchronous(model, group, replace(options("sgd"), nonfinite="stop"))
    assert group.pace is not None

    def step(value: float) -> None:
        for _ in optimizer.rounds():
            optimizer.step(model(torch.full((1, 2), value)).sum())

    step(1.0)
    step(torch.nan)
    # Another update has been begun.
    assert group.pace.exchange([False] * 3) == [False] * 3
    step(1.0)
    with pytest.raises(GroupFailedError, match="the gradient is nan at step 2"):
        group.pace.exchange([False] * 3)
    with optimizer.still():  # told once
        assert all(each.isfinite().all() for each in model.parameters())


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_each_rank_has_an_equal_share(ranks: int) -> None:
    model = Model(sparse=False)
    named = dict(model.named_parameters())
    shares = cut(named, ranks)
    sizes = [sum(piece.stop - piece.start for piece in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    pieces = [
        (piece.name, place)
        for share in shares
        for piece in share
        for place in range(piece.start, piece.stop)
    ]
    assert pieces == [
        (name, place) for name, each in named.items() for place in range(each.numel())
    ]
