"""Losses of projected logits, made in one pass, against literal transcriptions in float64."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill import joint as passes
from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.handover.mailbox import Answer
from hvcod.codistill.handover.messages import Header
from hvcod.codistill.handover.received import ReceivedTeacher
from hvcod.codistill.joint import CrossEntropy, Terms, joint
from hvcod.codistill.judge import Losses
from hvcod.codistill.losses import named_loss
from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import AnyPrediction, Sampled
from hvcod.codistill.projected import Projected
from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.constant import ConstantTeacher
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.groups.split import Group

UNITS, CLASSES, SHAPE = 6, 29, (3, 7)
WEIGHT = 0.7

Gradients = tuple[Tensor, ...]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds torch; five predictions at a time, the last time one."""
    torch.manual_seed(4)
    monkeypatch.setattr(passes, "_CPU_LOGITS", 5 * CLASSES)


def draw() -> tuple[Tensor, nn.Linear]:
    layer = nn.Linear(UNITS, CLASSES)
    return (3 * torch.randn(*SHAPE, UNITS)).requires_grad_(), layer


def labels() -> Tensor:
    """Returns labels, of which two are unknown."""
    drawn = torch.randint(CLASSES, SHAPE)
    drawn[0, 1] = drawn[2, 6] = -100
    return drawn


def exact(features: Tensor, layer: nn.Linear) -> tuple[list[Tensor], Tensor]:
    """Returns features, weight and bias in float64, and the logits that they make."""
    parts = [each.detach().double().requires_grad_() for each in (features, *layer.parameters())]
    return parts, F.linear(*parts)


def literal(
    loss: str, z: Tensor, right: Tensor, teachers: Sequence[Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    """Returns phi and psi of Algorithm 1, the latter times T^2, from logits in float64."""
    known = right >= 0
    phi = -z.softmax(-1).log()[known].gather(-1, right[known][:, None]).mean()
    p = torch.stack([(each.detach() / temperature).softmax(-1) for each in teachers]).mean(0)
    q = (z / temperature).softmax(-1)
    if loss == "mse":
        mean = torch.stack([each.detach() for each in teachers]).mean(0)
        return phi, (z - mean).square().mean()
    terms = {"cross-entropy": -p * q.log(), "kl": p * (p.log() - q.log())}[loss]
    return phi, temperature**2 * terms.sum(-1).mean()


def close(mine: Tensor, theirs: Tensor, tolerance: float = 1e-6) -> bool:
    return bool((mine.double() - theirs).norm() <= tolerance * theirs.norm())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["cross-entropy", "kl", "mse"])
def test_both_losses_and_their_gradient_are_those_of_the_transcription(
    name: str, count: int, temperature: float
) -> None:
    (features, layer), right = draw(), labels()
    teachers = [draw() for _ in range(count)]
    psi = named_loss(name, "classes", reuse_logits=True, temperature=temperature).rows
    asked = [Projected(*teacher) for teacher in teachers]
    found = joint(
        Projected(features, layer), Terms(CrossEntropy(right), asked, psi, WEIGHT, measures=True)
    )
    parts, z = exact(features, layer)
    answers = [exact(*teacher)[1] for teacher in teachers]
    phi, term = literal(name, z, right, answers, temperature)
    assert close(found.task, phi) and close(found.psi, term)
    assert close(found.total, phi + WEIGHT * term)
    found.total.backward()
    theirs = torch.autograd.grad(phi + WEIGHT * term, parts)
    for mine, gradient in zip((features, *layer.parameters()), theirs, strict=True):
        assert mine.grad is not None and close(mine.grad, gradient)
    assert all(each.weight.grad is None for _, each in teachers)
    for loss, answer in zip(found.teacher_losses, answers, strict=True):
        assert close(loss, literal(name, answer, right, answers, temperature)[0])
    largest = [each.abs().max() for each in (*answers, z)]
    assert close(found.sizes, torch.stack(largest))


def test_teachers_of_any_kind_teach_together() -> None:
    (features, layer), right = draw(), labels()
    other = draw()
    whole = torch.randn(*SHAPE, CLASSES)
    classes = torch.randint(CLASSES, (*SHAPE, 4))
    sampled = Sampled(classes, torch.full((1, 1, 1), 0.25).expand(*SHAPE, 4), CLASSES)
    student = Projected(features, layer)
    constant, _ = ConstantTeacher(torch.zeros(()), "uniform").predict(Question(None, student), None)
    assert isinstance(constant, Tensor) and constant.untyped_storage().nbytes() == 4
    before = whole.clone()
    answers: list[AnyPrediction] = [whole, sampled, Projected(*other), constant]
    psi = named_loss("cross-entropy", "classes", reuse_logits=True).rows
    found = joint(student, Terms(CrossEntropy(right), answers, psi, WEIGHT))
    z = student.logits().double()
    q = z.log_softmax(-1)
    targets = [
        whole.double().softmax(-1),
        sampled.dense(torch.float64),
        Projected(*other).logits().double().softmax(-1),
        torch.full_like(q, 1 / CLASSES),
    ]
    assert close(found.psi, -(torch.stack(targets).mean(0) * q).sum(-1).mean())
    assert torch.equal(whole, before)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_is_an_embedding_too_gets_both_gradients(bias: bool) -> None:
    table, right = nn.Embedding(CLASSES, UNITS), labels()
    layer = nn.Linear(UNITS, CLASSES, bias=bias)
    layer.weight = table.weight
    tokens = torch.randint(CLASSES, SHAPE)
    phi = CrossEntropy(right)
    whole = torch.autograd.grad(phi(layer(table(tokens))), table.weight)
    lazy = torch.autograd.grad(phi(Projected(table(tokens), layer)), table.weight)
    torch.testing.assert_close(lazy, whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_products_are_in_the_precision_of_autocast_and_losses_are_not(dtype: torch.dtype) -> None:
    (features, layer), right, teacher = draw(), labels(), draw()
    psi = named_loss("cross-entropy", "classes", reuse_logits=True).rows
    with torch.autocast("cpu", dtype):
        student, taught = Projected(features, layer), Projected(*teacher)
        assert student.dtype == dtype == student.logits().dtype
    # Autocast may have ended: what was made in it computes as it did.
    found = joint(student, Terms(CrossEntropy(right), [taught], psi, WEIGHT))
    assert found.total.dtype == torch.float32
    (2.0**10 * found.total).backward()
    parts, z = exact(features, layer)
    phi, term = literal("cross-entropy", z, right, [exact(*teacher)[1]], 1.0)
    theirs = torch.autograd.grad(2.0**10 * (phi + WEIGHT * term), parts)
    for mine, gradient in zip((features, *layer.parameters()), theirs, strict=True):
        assert mine.grad is not None and mine.grad.dtype == torch.float32
        assert close(mine.grad, gradient, 0.02)


def test_tiny_probabilities_have_a_gradient_in_fp16() -> None:
    """A probability of 4e-5, divided by 512 predictions, is less than any number of fp16."""
    layer, right = nn.Linear(2, CLASSES), torch.zeros(512, dtype=torch.int64)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([10.0] + [0.0] * (CLASSES - 1)))
    features = torch.ones(512, 2)
    with torch.autocast("cpu", torch.float16):
        student = Projected(features, layer)
    CrossEntropy(right)(student).backward()
    assert layer.weight.grad is not None
    expected = torch.tensor(1 / (math.exp(10) + CLASSES - 1)).expand(CLASSES - 1, 2)
    torch.testing.assert_close(layer.weight.grad[1:], expected, rtol=1e-2, atol=0)


def test_without_gradient_the_losses_are_the_same_and_a_second_backward_is_refused() -> None:
    (features, layer), phi = draw(), CrossEntropy(labels())
    loss = phi(Projected(features, layer))
    with torch.no_grad():
        assert torch.equal(phi(Projected(features, layer)), loss)
    loss.backward(retain_graph=True)
    with pytest.raises(HvcodError, match="only once"):
        loss.backward()


def test_labels_that_are_all_unknown_give_what_the_library_gives() -> None:
    features, layer = draw()
    phi = CrossEntropy(torch.full(SHAPE, -100))
    gradients = []
    for logits in (Projected(features, layer), layer(features)):
        loss = phi(logits)
        assert loss.isnan()
        gradients.append(torch.autograd.grad(loss, features)[0])
    torch.testing.assert_close(*gradients, equal_nan=True)


def test_a_part_in_which_nothing_is_scored_only_distills() -> None:
    """Its weight among the parts of a batch is zero, and NaN must not come of that."""
    (features, layer), teacher = draw(), draw()
    phi = CrossEntropy(torch.full(SHAPE, -100), weight=0.0)
    psi = named_loss("cross-entropy", "classes", reuse_logits=True).rows
    found = joint(Projected(features, layer), Terms(phi, [Projected(*teacher)], psi, WEIGHT))
    assert found.task == phi(layer(features)) == 0
    parts, z = exact(features, layer)
    p = exact(*teacher)[1].softmax(-1).detach()
    theirs = torch.autograd.grad(-WEIGHT * (p * z.log_softmax(-1)).sum(-1).mean(), parts)
    found.total.backward()
    assert features.grad is not None
    assert close(features.grad, theirs[0])


def test_predictions_that_were_received_are_widened_where_they_are_used() -> None:
    (features, layer), right = draw(), labels()
    student, taught = Projected(features, layer), torch.randn(*SHAPE, CLASSES)
    packing = Packing(CLASSES)
    rows = packing.pack(taught, np.zeros(taught[..., 0].numel()))
    header = Header(1, 1, 10, "here", size=rows.nbytes, packing=packing.to_dict())
    teacher = ReceivedTeacher("group 1", 1)
    teacher.receive(1, Answer(header, rows.view(np.uint8)))
    answer, _ = teacher.predict(Question(None, student), None)
    assert isinstance(answer, Tensor)
    assert answer.dtype == torch.float16
    psi = named_loss("kl", "classes", reuse_logits=True).rows
    found = joint(student, Terms(CrossEntropy(right), [answer], psi, WEIGHT))
    expected = literal("kl", student.logits().double(), right, [taught.half().double()], 1.0)
    assert close(found.task, expected[0])
    assert close(found.psi, expected[1])


def test_teachers_of_another_shape_are_refused() -> None:
    features, layer = draw()
    psi = named_loss("kl", "classes", reuse_logits=True).rows
    with pytest.raises(HvcodError, match=r"teacher 0 .*\(3, 6, 29\).*\(3, 7, 29\)"):
        other = Projected(features[:, :-1], layer)
        joint(Projected(features, layer), Terms(CrossEntropy(labels()), [other], psi, 1.0))


class Net(nn.Module):
    """Gives features, whose last layer makes logits of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, UNITS), nn.Linear(UNITS, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.first(inputs).tanh()
        return features


def lazily(model: Any, inputs: Tensor, state: Any) -> tuple[Projected, Any]:
    return Projected(model(inputs), model.last), state


def at_once(model: Any, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    return model.last(model(inputs)), state


def taught(
    folder: Path, predict: Callable[..., Any], student: Net, teachers: Sequence[Net], **more: Any
) -> tuple[Losses, Gradients, Codistiller]:
    """Returns losses of a step with fixed teachers, gradients of the student, and who gave them."""
    group = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    options = CodistillOptions(burn_in=0, distill_weight=WEIGHT, **more)
    fixed = [copy.deepcopy(each) for each in teachers]
    codistiller = Codistiller(
        student, group, folder, options, predict=predict, reuse_logits=True, fixed=fixed
    )
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(*SHAPE, 4, generator=generator)
    right = torch.randint(CLASSES, SHAPE, generator=generator)
    student.zero_grad()
    outputs, _ = predict(student, inputs, None)
    losses = codistiller.losses(outputs, inputs, CrossEntropy(right))
    losses.total.backward()
    gradients = tuple(each.grad.clone() for each in student.parameters() if each.grad is not None)
    codistiller.step()
    return losses, gradients, codistiller


@pytest.mark.parametrize("loss", ["cross-entropy", "kl", "mse"])
def test_a_step_is_the_same_whether_logits_are_stored_or_not(loss: str, tmp_path: Path) -> None:
    student, teachers = Net(), [Net(), Net()]
    lazy, whole = (
        taught(tmp_path, each, student, teachers, distill_loss=loss) for each in (lazily, at_once)
    )
    torch.testing.assert_close(lazy[:2], whole[:2])
    assert lazy[2].figures(1)["teacher_losses"] == pytest.approx(
        whole[2].figures(1)["teacher_losses"]
    )
    assert lazy[0].distill > 0


@pytest.mark.parametrize("value", [math.nan, 3e38, 1e13])
def test_a_teacher_that_is_not_finite_leaves_the_task_loss_alone(
    value: float, tmp_path: Path
) -> None:
    student, broken = Net(), Net()
    with torch.no_grad():
        broken.last.weight.fill_(value)
    results = []
    for predict in (lazily, at_once):
        results.append(taught(tmp_path, predict, student, [Net(), broken], distill_loss="mse"))
    (lazy, gradients, codistiller), (whole, others, beside) = results
    assert lazy.distill == whole.distill == 0
    torch.testing.assert_close((lazy[:2], gradients), (whole[:2], others))
    assert all(bool(each.isfinite().all()) for each in gradients)
    codistiller.step()
    beside.step()
    assert codistiller.reasons == beside.reasons != {}


def test_a_limit_measures_teachers_before_they_teach(tmp_path: Path) -> None:
    student, teachers = Net(), [Net()]
    for predict in (lazily, at_once):
        losses, _, codistiller = taught(tmp_path, predict, student, teachers, teacher_limit=2.0)
        assert losses.distill == 0 and losses.total == losses.task
        assert codistiller.figures(1)["teacher_losses"] != {}


def test_a_loss_of_ones_own_gets_whole_logits(tmp_path: Path) -> None:
    group = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    student, inputs = Net(), torch.randn(*SHAPE, 4)

    def distance(mine: Tensor, theirs: Sequence[Tensor]) -> Tensor:
        return (mine - theirs[0]).abs().mean()

    codistiller = Codistiller(
        student,
        group,
        tmp_path,
        CodistillOptions(burn_in=0),
        predict=lazily,
        fixed=[Net()],
        distillation_loss=distance,
    )
    outputs, _ = lazily(student, inputs, None)
    phi = CrossEntropy(torch.zeros(SHAPE, dtype=torch.int64))
    losses = codistiller.losses(outputs, inputs, phi)
    assert torch.equal(codistiller.loss(outputs, inputs), losses.distill)
    torch.testing.assert_close(losses.total, phi(outputs) + losses.distill)
