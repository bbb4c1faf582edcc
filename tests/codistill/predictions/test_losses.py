"""The cross entropy of sampled predictions against a literal transcription."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hvcod.codistill.losses import named_loss
from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import Prediction, Sampled, offsets, sample
from hvcod.errors import HvcodError


def logits_of(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def sampled(logits: Tensor, k: int, temperature: float = 1.0, seed: int = 1) -> Sampled:
    rows = logits.reshape(-1, logits.shape[-1])
    drawn = sample(rows, k, offsets(len(rows), seed), temperature)
    weights = torch.full(drawn.shape, 1 / k, dtype=torch.float64)
    return Sampled(drawn, weights, logits.shape[-1], temperature).reshape(logits.shape)


def value_and_gradient(
    student: Tensor, teachers: list[Any], temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    loss = named_loss("cross-entropy", "classes", False, temperature)(student, teachers)
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.detach(), gradient


def literal(
    student: Tensor, teachers: list[Prediction], temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Returns the mean over teachers and rows of -sum_i w_i log q(class_i), and its gradient."""
    student = student.clone().requires_grad_()
    log_student = (student / temperature).log_softmax(-1)
    losses = []
    for teacher in teachers:
        if isinstance(teacher, Sampled):
            terms = teacher.weights * log_student.gather(-1, teacher.indices)
        else:
            terms = (teacher / temperature).softmax(-1) * log_student
        losses.append(-terms.sum(-1).mean())
    loss = temperature**2 * torch.stack(losses).mean()
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.detach(), gradient


@pytest.mark.parametrize("shape", [(17, 29), (3, 5, 29)], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("first", ["whole", "sampled"])
def test_whole_and_sampled_teachers_teach_together(
    shape: tuple[int, ...], temperature: float, first: str
) -> None:
    student = logits_of(*shape)
    teachers: list[Prediction] = [
        logits_of(*shape, seed=2),
        sampled(logits_of(*shape, seed=3), 5, temperature),
        sampled(logits_of(*shape, seed=4), 12, temperature),
    ]
    if first == "sampled":
        teachers.reverse()
    ours = value_and_gradient(student, teachers, temperature)
    theirs = literal(student, teachers, temperature)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_mean_over_many_samples_is_the_whole_loss_and_gradient() -> None:
    student, teacher = logits_of(1, 29), logits_of(1, 29, seed=2)
    many = 4000  # all equidistant offsets: what is left is smaller than 1 / (k many) each
    drawn = sample(teacher.expand(many, -1), 7, (np.arange(many) + 0.5) / many)
    samples = Sampled(drawn, torch.full(drawn.shape, 1 / 7, dtype=torch.float64), 29)
    loss, gradient = value_and_gradient(student.expand(many, -1), [samples])
    whole = value_and_gradient(student, [teacher])
    torch.testing.assert_close((loss, gradient.sum(0, keepdim=True)), whole, rtol=0, atol=1e-3)


def test_packed_predictions_are_taken_as_they_come() -> None:
    student, teacher = logits_of(6, 29).float(), logits_of(6, 29, seed=2).float()
    for kind in ("sample", "top"):
        packing = Packing(29, kind, 5)
        teachers: list[Prediction] = [packing.unpack(packing.pack(teacher, offsets(6, 1)))]
        ours = value_and_gradient(student, teachers)
        torch.testing.assert_close(ours, literal(student, teachers), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_losses_that_need_all_logits_refuse_samples(loss: str) -> None:
    teacher: Any = sampled(logits_of(4, 29), 5)
    with pytest.raises(HvcodError, match=f"--distill-loss {loss} needs the logits of all classes"):
        named_loss(loss, "classes", False)(logits_of(4, 29), [teacher])


def test_samples_of_another_temperature_are_refused() -> None:
    teacher = sampled(logits_of(4, 29), 5, temperature=2.0)
    with pytest.raises(HvcodError, match="sampled at the temperature 2: --temperature 3 cannot"):
        value_and_gradient(logits_of(4, 29), [teacher], temperature=3.0)


def test_samples_of_other_classes_are_refused() -> None:
    with pytest.raises(HvcodError, match="the student of shape"):
        value_and_gradient(logits_of(4, 29), [sampled(logits_of(4, 28), 5)])
