"""Sampled predictions pass the guard and the judge beside logits."""

import torch

from hvcod.codistill.guard import Guard
from hvcod.codistill.losses import named_loss
from hvcod.codistill.predictions.sampled import AnyPrediction, Sampled

PSI = named_loss("cross-entropy", "classes", reuse_logits=True)
SAMPLED = Sampled(torch.tensor([[0, 2], [1, 1]]), torch.full((2, 2), 0.5), 3)


def test_a_sound_term_is_the_loss() -> None:
    student, teacher = torch.randn(2, 3), torch.randn(2, 3)
    guard = Guard(PSI)
    sampled = -(SAMPLED.dense(torch.float32) * student.log_softmax(-1)).sum(-1).mean()
    expected = (PSI(student, [teacher.clone()]) + sampled) / 2
    torch.testing.assert_close(guard.term(student, {1: teacher.clone(), -1: SAMPLED}), expected)
    assert not guard.verdict().faults


def test_the_teacher_with_broken_logits_is_named() -> None:
    guard = Guard(PSI)
    broken: dict[int, AnyPrediction] = {1: torch.full((2, 3), float("nan")), -1: SAMPLED}
    assert guard.term(torch.randn(2, 3), broken) == 0
    assert list(guard.verdict().faults) == [1]
