"""Teachers are frozen, carry a hidden state of their own, and widen half precision."""

from pathlib import Path

import pytest
import torch
from mpi4py import MPI
from torch import Tensor, nn

from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.collection import Teachers
from hvcod.codistill.teachers.model import GroupTeacher, TeacherSpec, copy_of
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
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


def copied(student: nn.Module, group: int) -> GroupTeacher:
    spec = TeacherSpec(group, lambda: copy_of(student), specification(student.state_dict()))
    return GroupTeacher(spec, predict, None)


def asked(rows: int) -> Question:
    return Question(torch.randn(rows, 3), torch.zeros(rows, 2))


def halves(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


def test_a_teacher_predicts_frozen_and_keeps_its_hidden_state_over_a_refresh() -> None:
    student, other = Counting(), Counting()
    teachers = Teachers({1: copied(student, 1)})
    assert teachers.steps == {}
    teachers.load(1, 50, halves(other))
    question = asked(4)
    weights = other.linear.weight.half().float(), other.linear.bias.half().float()
    for count in (1, 2, 3):
        logits = teachers.answers(question, [1])[1]
        assert isinstance(logits, Tensor)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, question.inputs @ weights[0].T + weights[1] + count)
        teachers.load(1, 50 * (count + 1), halves(other))
    assert teachers.steps == {1: 200}
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_teachers_come_in_the_order_of_their_groups() -> None:
    teachers = Teachers({group: copied(Counting(), group) for group in (2, 0)})
    for group in (2, 0):
        teachers.load(group, 10 * group + 10, halves(Counting()))
    assert teachers.steps == {0: 10, 2: 30}
    assert list(teachers.answers(asked(1), [2, 0])) == [0, 2]


BATCHES = [torch.randn(4, 3) for _ in range(3)]


def alone(tmp_path: Path, student: nn.Module, *fixed: nn.Module) -> Codistiller:
    group = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    options = CodistillOptions(burn_in=1)
    return Codistiller(student, group, tmp_path, options, fixed=fixed, predict=predict)


def test_a_group_alone_learns_from_the_mean_prediction_of_finished_models(tmp_path: Path) -> None:
    student, *models = (Counting() for _ in range(3))
    codistiller = alone(tmp_path, student, *models)
    for count, inputs in enumerate(BATCHES, start=1):
        outputs = student.linear(inputs)
        term = codistiller.loss(outputs, inputs)
        # Their hidden states begin with their first batch, which is the one after the burn-in.
        means = sum((each.linear(inputs) + count - 1).softmax(-1) for each in models) / 2
        literal = -(means.detach() * outputs.log_softmax(-1)).sum(-1).mean()
        torch.testing.assert_close(term, literal if count > 1 else torch.zeros(()))
        taught = {f"fixed teacher {number}": None for number in (1, 2)} if count > 1 else {}
        assert codistiller.figures(count) == {"teachers": taught, "staleness": {}}
        codistiller.step()
    assert codistiller.summary()["mean_staleness"] is None
    codistiller.close()
    assert list(tmp_path.iterdir()) == []


def test_fixed_teachers_go_on_with_their_hidden_states_if_they_are_the_same(tmp_path: Path) -> None:
    student, teacher, other = (Counting() for _ in range(3))
    before = alone(tmp_path, student, teacher)
    for inputs in BATCHES:
        before.loss(student.linear(inputs), inputs)
        before.step()
    state, hidden = before.state_dict(), before.hidden
    assert hidden == {-1: 2}
    assert not any(isinstance(leaf, Tensor) for leaf in state["teachers"][-1].values())
    again = alone(tmp_path, student, teacher)
    again.load_state_dict(state, hidden)
    outputs = student.linear(BATCHES[0])
    assert torch.equal(again.loss(outputs, BATCHES[0]), before.loss(outputs, BATCHES[0]))
    for fixed, problem in (
        ([other], "fixed teacher 1 .* has other weights"),
        ([], "beside the groups, number 1, which does not teach here"),
        ([teacher, other], "fixed teacher 2 did not teach when the state was saved"),
    ):
        with pytest.raises(HvcodError, match=problem):
            alone(tmp_path, student, *fixed).load_state_dict(state)
    for codistiller in (before, again):
        codistiller.close()


def test_a_fixed_teacher_that_predicts_nan_is_left_out_for_good(tmp_path: Path) -> None:
    student, good, bad = (Counting() for _ in range(3))
    nn.init.constant_(bad.linear.bias, float("nan"))
    codistiller = alone(tmp_path, student, good, bad)
    used = []
    for inputs in BATCHES * 2:
        assert codistiller.loss(student.linear(inputs), inputs).isfinite()
        used.append(codistiller.figures(0)["teachers"])
        codistiller.step()
    one, two = {"fixed teacher 1": None}, {"fixed teacher 2": None}
    assert used == [{}, one | two, one | two, one, one, one]
    assert codistiller.problems == {"fixed teacher 2: not finite": 1}
    codistiller.close()


def test_a_fixed_teacher_beyond_the_limit_never_teaches_also_after_a_resume(tmp_path: Path) -> None:
    student, good, bad = (Counting() for _ in range(3))
    good.load_state_dict(student.state_dict())
    bad.linear.bias.data[1] = 1e4
    group = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    options = CodistillOptions(burn_in=0, teacher_limit=100)

    def score(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))

    def made() -> Codistiller:
        return Codistiller(student, group, tmp_path, options, fixed=[good, bad], predict=predict)

    before, again, used = made(), made(), []
    for codistiller in (before, again):
        if codistiller is again:
            again.load_state_dict(before.state_dict(), before.hidden)
        for inputs in BATCHES:
            codistiller.loss(student.linear(inputs), inputs, score)
            used.append(codistiller.figures(0)["teachers"])
            codistiller.step()
        codistiller.close()
    assert used == [{}, *[{"fixed teacher 1": None}] * 5]
    assert before.problems == {"fixed teacher 2: beyond --teacher-limit": 1}


def test_a_model_cannot_teach_itself(tmp_path: Path) -> None:
    student = Counting()
    with pytest.raises(HvcodError, match="fixed teacher 1 shares parameters with the student"):
        alone(tmp_path, student, student)
    assert all(parameter.requires_grad for parameter in student.parameters())
