"""Batches that are made ahead."""

import time
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from hvcod.errors import HvcodError
from hvcod.tasks.base import Batch
from hvcod.training.prefetch import Prefetch


class Counting:
    """Counts from 0, and fails at 100."""

    def __init__(self) -> None:
        self.at = 0

    def next(self) -> Batch:
        if self.at >= 100:
            raise HvcodError("the data are cut off")
        self.at += 1
        return Batch(torch.tensor([self.at]), torch.tensor([0]))

    def state_dict(self) -> Mapping[str, np.ndarray]:
        return {"at": np.array([self.at])}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self.at = int(state["at"][0])


def wait_until_at(source: Counting, batches: int) -> None:
    """Waits until the source, of which nobody has asked for more, has made so many batches."""
    end = time.monotonic() + 300
    while source.at < batches:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert source.at == batches


def test_the_position_is_that_of_the_batches_that_were_taken() -> None:
    source = Counting()
    data = Prefetch(source)
    assert data.state_dict()["at"].tolist() == [0]
    assert [int(data.next().inputs) for _ in range(3)] == [1, 2, 3]
    wait_until_at(source, 4)
    assert data.state_dict()["at"].tolist() == [3]
    data.load_state_dict({"at": torch.tensor([7])})
    assert data.state_dict()["at"].tolist() == [7]
    assert int(data.next().inputs) == 8
    data.close()


def test_batches_are_made_while_the_loop_computes() -> None:
    source = Counting()
    data = Prefetch(source)
    for taken in range(1, 5):
        data.next()
        wait_until_at(source, taken + 1)
    data.close()


def test_what_making_a_batch_raises_comes_with_that_batch() -> None:
    data = Prefetch(Counting())
    data.load_state_dict({"at": torch.tensor([99])})
    assert int(data.next().inputs) == 100
    with pytest.raises(HvcodError, match="cut off"):
        data.next()
    data.close()
