"""Sampled predictions: their expectation is the whole distribution, exactly."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hvcod.codistill.predictions.sampled import Sampled, offsets, sample, top

PARTS = 40
"""Every probability here is a multiple of 1/40, so 40 offsets show all samples there are."""


@pytest.fixture(params=[3, 12])
def k(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def probabilities() -> Tensor:
    return torch.tensor([21, 0, 9, 5, 3, 1, 1], dtype=torch.float64) / PARTS


def samples(probabilities: Tensor, k: int) -> Sampled:
    """Returns all samples, each as probable as the others."""
    logits = probabilities.log().expand(PARTS, -1)
    drawn = sample(logits, k, (np.arange(PARTS) + 0.5) / PARTS)
    return Sampled(drawn, torch.full(drawn.shape, 1 / k, dtype=torch.float64), 7)


def literal_loss(sampled: Sampled, student: Tensor) -> Tensor:
    """Returns the mean over samples of -sum_i w_i log q(class_i)."""
    log_student = student.log_softmax(-1)
    losses = [
        -sum(weight * log_student[index] for index, weight in zip(row, weights, strict=True))
        for row, weights in zip(sampled.indices.tolist(), sampled.weights.tolist(), strict=True)
    ]
    return torch.stack(losses).mean()


def value_and_gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.detach().requires_grad_()
    value = loss(at)
    (gradient,) = torch.autograd.grad(value, at)
    return value.detach(), gradient


def test_expected_loss_and_gradient_are_those_of_the_whole_distribution(
    probabilities: Tensor, k: int
) -> None:
    student = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = value_and_gradient(lambda z: literal_loss(samples(probabilities, k), z), student)
    whole = value_and_gradient(lambda z: -(probabilities * z.log_softmax(-1)).sum(), student)
    torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-12)


def test_the_mean_of_all_samples_is_the_distribution(probabilities: Tensor, k: int) -> None:
    mean = samples(probabilities, k).dense(torch.float64).mean(0)
    torch.testing.assert_close(mean, probabilities, rtol=0, atol=1e-12)


def test_a_class_is_drawn_as_often_as_it_should_but_for_less_than_one_draw(
    probabilities: Tensor, k: int
) -> None:
    counts = samples(probabilities, k).dense(torch.float64) * k
    assert ((counts - k * probabilities).abs() < 1).all()
    assert not counts[:, 1].any()  # never without probability


def test_the_likeliest_classes_are_biased(probabilities: Tensor) -> None:
    logits = probabilities.log()[None]
    indices, weights = top(logits, 3)
    assert indices.tolist() == [[0, 2, 3]]
    expected = probabilities[indices[0]] / probabilities[indices[0]].sum()
    torch.testing.assert_close(weights[0].double(), expected)
    # A student that has learned the teacher's distribution is driven away from it.
    likeliest = Sampled(indices, weights, 7)
    known = [0, 2, 3, 4, 5, 6]
    _, gradient = value_and_gradient(lambda z: literal_loss(likeliest, z), logits[0].clamp(min=-99))
    assert gradient[0] < -0.05
    assert (gradient[known[3:]] > 0.02).all()
    drawn = samples(probabilities, 3)
    _, gradient = value_and_gradient(lambda z: literal_loss(drawn, z), logits[0].clamp(min=-99))
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_temperature_is_that_of_the_distribution(temperature: float) -> None:
    logits = torch.randn(2000, 5, generator=torch.Generator().manual_seed(2))[:1].expand(2000, 5)
    drawn = sample(logits, 4, (np.arange(2000) + 0.5) / 2000, temperature)
    mean = F.one_hot(drawn, 5).double().mean((0, 1))
    torch.testing.assert_close(
        mean, (logits[0] / temperature).softmax(-1).double(), rtol=0, atol=1e-3
    )
    _, weights = top(logits, 5, temperature)
    expected = (logits[0] / temperature).softmax(-1).sort(descending=True).values
    torch.testing.assert_close(weights[0], expected)


def test_chunks_of_a_large_vocabulary_are_drawn_like_single_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(50, 301, generator=torch.Generator().manual_seed(3))
    at = offsets(50, 1, 2)
    whole = sample(logits, 20, at)
    monkeypatch.setattr("hvcod.codistill.predictions.sampled._CHUNK", 1000)
    assert torch.equal(sample(logits, 20, at), whole)
    assert ((whole[:, 1:] - whole[:, :-1]) >= 0).all()


def test_offsets_follow_from_their_seed() -> None:
    assert np.array_equal(offsets(100, 3, 4), offsets(100, 3, 4))
    assert not np.array_equal(offsets(100, 3, 4), offsets(100, 3, 5))
    numbers = offsets(20_000, 1)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01


def test_it_is_sliced_and_shaped_like_the_logits_in_whose_place_it_stands() -> None:
    indices = torch.arange(24).reshape(6, 4) % 5
    sampled = Sampled(indices, torch.full((6, 4), 0.25), 5)
    assert sampled.shape == (6, 5)
    shaped = sampled.reshape((2, 3, 5))
    assert shaped.shape == (2, 3, 5)
    assert torch.equal(shaped.dense(torch.float32).reshape(6, 5), sampled.dense(torch.float32))
    assert torch.equal(sampled[2:4].dense(torch.float32), sampled.dense(torch.float32)[2:4])
    assert torch.equal(shaped.reshape((-1, 5)).indices, indices)
