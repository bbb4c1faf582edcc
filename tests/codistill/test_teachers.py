"""Teachers are frozen, carry a hidden state of their own, and widen half precision."""

import torch
from torch import Tensor, nn

from hvcod.codistill.teachers import Teachers, TeacherSpec, copy_of
from hvcod.tensorfile.format import specification


class Counting(nn.Module):
    """Its hidden state counts the batches it has seen; dropout shows which mode it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.9)

    def forward(self, inputs: Tensor, state: int | None) -> tuple[Tensor, int]:
        return self.linear(self.dropout(inputs)), (state or 0) + 1


def predict(model: nn.Module, inputs: Tensor, state: int | None) -> tuple[Tensor, int]:
    logits, count = model(inputs, state)
    return logits + count, count


def copied(student: nn.Module, group: int) -> TeacherSpec:
    return TeacherSpec(group, lambda: copy_of(student), specification(student.state_dict()))


def halves(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


def test_a_teacher_predicts_frozen_and_keeps_its_hidden_state_over_a_refresh() -> None:
    student, other = Counting(), Counting()
    teachers = Teachers([copied(student, 1)], predict)
    assert teachers.steps == {}
    teachers.load(1, 50, halves(other))
    inputs = torch.randn(4, 3)
    weights = other.linear.weight.half().float(), other.linear.bias.half().float()
    for count in (1, 2, 3):
        logits = teachers.logits(inputs, [1])[1]
        assert not logits.requires_grad
        torch.testing.assert_close(logits, inputs @ weights[0].T + weights[1] + count)
        teachers.load(1, 50 * (count + 1), halves(other))
    assert teachers.steps == {1: 200}
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_teachers_come_in_the_order_of_their_groups() -> None:
    teachers = Teachers([copied(Counting(), group) for group in (0, 2)], predict)
    for group in (2, 0):
        teachers.load(group, 10 * group + 10, halves(Counting()))
    assert teachers.steps == {0: 10, 2: 30}
    assert list(teachers.logits(torch.randn(1, 3), [2, 0])) == [0, 2]
