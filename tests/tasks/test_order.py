"""``--order-seed``: the order of the data is drawn apart from the weights."""

from pathlib import Path

import pytest
import torch
from mpi4py import MPI
from tasks.criteo.datasets import make_dataset

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.groups.split import Group
from hvcod.tasks import load_task
from hvcod.tree import take_apart

ALONE = Group(0, 1, 0, 1, MPI.COMM_SELF, 0, 1)


def first_inputs(name: str, data: Path, **seeds: int) -> list[torch.Tensor]:
    task = load_task(name)
    layers = [task.presets["laptop"], {"task": name, "data": data, "batch_size": 8, **seeds}]
    options: TrainOptions = config.resolve(TrainOptions, layers, task.Options)
    batch = task(options, ALONE).training_data().next()
    return list(take_apart(batch.inputs, "inputs")[1].values())


@pytest.fixture(params=["criteo", "commoncrawl"])
def data(request: pytest.FixtureRequest, tiny_data: Path, tmp_path: Path) -> tuple[str, Path]:
    if request.param == "commoncrawl":
        return request.param, tiny_data
    return request.param, make_dataset(tmp_path / "rows", [2000], 1800, 100).folder


def test_the_order_follows_from_its_own_seed_and_else_from_that_of_the_run(
    data: tuple[str, Path],
) -> None:
    both, other, ours = (
        first_inputs(data[0], data[1], **seeds)
        for seeds in ({"seed": 5}, {"seed": 6}, {"seed": 6, "order_seed": 5})
    )
    assert same(both, ours)
    assert not same(both, other)


def same(these: list[torch.Tensor], those: list[torch.Tensor]) -> bool:
    pairs = zip(these, those, strict=True)
    return all(torch.equal(this.nan_to_num(), that.nan_to_num()) for this, that in pairs)
