"""After a restore the random numbers are those that would have come."""

import random

import numpy as np
import torch

from hvcod.training.state.part import RandomNumbers

CPU = torch.device("cpu")


def draw() -> list[float]:
    # An odd number of normals: NumPy and Python keep the second of a pair.
    return [
        *torch.rand(3).tolist(),
        *np.random.normal(size=3).tolist(),
        random.random(),
        random.gauss(0, 1),
    ]


def test_all_generators_go_on_where_they_were() -> None:
    draw()
    state = RandomNumbers(CPU).state_dict()
    expected = draw()
    draw()
    RandomNumbers(CPU).load_state_dict(state)
    assert draw() == expected


def test_taking_the_state_draws_nothing() -> None:
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    RandomNumbers(CPU).state_dict()
    assert torch.equal(torch.rand(1), first)
