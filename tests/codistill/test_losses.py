"""The distillation losses against literal transcriptions of Algorithm 1."""

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hvcod.codistill import rows
from hvcod.codistill.losses import Loss, cross_entropy, kl, mse, named_loss
from hvcod.errors import HvcodError, UsageError
from hvcod.registry import LOSSES


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Seeds torch and makes chunks as large as for one thread."""
    torch.manual_seed(4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def distillation_loss(student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
    """Returns the cross entropy of classes; the teachers' logits stay unchanged."""
    return named_loss("cross-entropy", "classes", reuse_logits=False)(student, teachers)


def binary_distillation_loss(student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
    return cross_entropy(student, teachers, "binary")


def literal_psi(student: Tensor, teachers: list[Tensor]) -> Tensor:
    """Returns psi({1/(N-1) sum over j != i of F(theta_j, f)}, F(theta_i, f)): cross entropy."""
    aggregated = sum((teacher.softmax(-1) for teacher in teachers), torch.zeros(())) / len(teachers)
    return -(aggregated.detach() * student.softmax(-1).log()).sum(-1).mean()


def draw(models: int, *shape: int, dtype: torch.dtype = torch.double) -> list[Tensor]:
    return [(3 * torch.randn(*shape)).to(dtype).requires_grad_() for _ in range(models)]


def value_and_gradient(loss: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss, gradient


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=str
)
@pytest.mark.parametrize("models", [2, 3])
def test_every_model_gets_the_gradient_of_algorithm_1(
    models: int, dtype: torch.dtype, tolerance: float
) -> None:
    predictions = draw(models, 17, 29, dtype=dtype)
    for index, student in enumerate(predictions):
        teachers = [logits for other, logits in enumerate(predictions) if other != index]
        ours = value_and_gradient(distillation_loss(student, teachers), student)
        theirs = value_and_gradient(literal_psi(student, teachers), student)
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("models", [2, 3])
def test_the_whole_loss_of_algorithm_1_with_a_weight(models: int) -> None:
    student, *teachers = draw(models, 17, 29)
    labels, weight = torch.randint(29, (17,)), 0.7
    phi = F.cross_entropy(student, labels)
    ours = value_and_gradient(phi + weight * distillation_loss(student, teachers), student)
    phi = -student.softmax(-1)[torch.arange(17), labels].log().mean()
    theirs = value_and_gradient(phi + weight * literal_psi(student, teachers), student)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_mean_is_over_distributions_not_over_logits() -> None:
    sure_of_0, sure_of_1 = torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([[0.0, 50.0, 0.0]])
    student = torch.tensor([[0.2, 0.1, 0.4]], requires_grad=True)
    expected = -(F.log_softmax(student, -1) @ torch.tensor([0.5, 0.5, 0.0])).squeeze()
    torch.testing.assert_close(distillation_loss(student, [sure_of_0, sure_of_1]), expected)


def test_teachers_are_neither_differentiated_nor_changed() -> None:
    student, *teachers = draw(3, 17, 29)
    before = [teacher.detach().clone() for teacher in teachers]
    distillation_loss(student, teachers).backward()
    assert all(teacher.grad is None for teacher in teachers)
    assert all(torch.equal(*pair) for pair in zip(teachers, before, strict=True))


@pytest.mark.parametrize("models", [2, 3])
@pytest.mark.parametrize("shape", [(17, 29), (5, 7, 11)])
def test_overwriting_gives_the_same_gradient_in_the_first_teachers_memory(
    models: int, shape: tuple[int, ...]
) -> None:
    student, *teachers = draw(models, *shape)
    kept = value_and_gradient(distillation_loss(student, teachers), student)
    spare = [teacher.detach().clone() for teacher in teachers]
    loss = cross_entropy(student, spare, "classes")
    overwritten = value_and_gradient(loss, student)
    torch.testing.assert_close(overwritten, kept, rtol=0, atol=0)
    assert overwritten[1].data_ptr() == spare[0].data_ptr()
    assert all(torch.equal(*pair) for pair in zip(spare[1:], teachers[1:], strict=True))


def test_overwriting_leaves_alone_what_it_cannot_use() -> None:
    student = torch.randn(4, 5, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.bfloat16)
    before = teacher.clone()
    cross_entropy(student, [teacher], "classes").backward()
    assert torch.equal(teacher, before)


@pytest.mark.parametrize("chunk", [1, 29, 58, 17 * 29 - 1, 17 * 29, 10**6])
def test_chunks_of_any_size_give_the_same(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    student, *teachers = draw(3, 17, 29)
    expected = value_and_gradient(literal_psi(student, teachers), student)
    monkeypatch.setattr(rows, "_CPU_CHUNK", chunk)
    ours = value_and_gradient(distillation_loss(student, teachers), student)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 7), (7,), (2, 3, 7)])
def test_positions_may_have_any_shape(shape: tuple[int, ...]) -> None:
    student, teacher = draw(2, *shape)
    loss, gradient = value_and_gradient(distillation_loss(student, [teacher]), student)
    expected = value_and_gradient(literal_psi(student, [teacher]), student)
    assert loss.shape == () and gradient.shape == shape
    torch.testing.assert_close((loss, gradient), expected)


def test_logits_that_are_not_contiguous() -> None:
    student, teacher = draw(2, 6, 4, 7)
    ours = distillation_loss(student.transpose(0, 1), [teacher.transpose(0, 1)])
    expected = value_and_gradient(literal_psi(student, [teacher]), student)
    torch.testing.assert_close(value_and_gradient(ours, student), expected)


def test_a_student_that_agrees_has_no_gradient_and_the_loss_is_the_entropy() -> None:
    (student,) = draw(1, 17, 29, dtype=torch.float32)
    loss, gradient = value_and_gradient(distillation_loss(student, [student]), student)
    entropy = torch.distributions.Categorical(logits=student).entropy().mean()
    torch.testing.assert_close(loss, entropy)
    assert gradient.abs().max() < 1e-8


def test_extreme_logits_stay_finite() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    loss, gradient = value_and_gradient(distillation_loss(student, [teacher]), student)
    assert loss.item() == 1e4  # one row agrees, the other is 20000 nats off
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0, 0.0], [-0.5, 0.5, 0.0]]))


def test_one_hot_teachers_make_it_the_cross_entropy_of_labels() -> None:
    (student,) = draw(1, 17, 29)
    labels = torch.randint(29, (17,))
    teacher = 1e4 * F.one_hot(labels, 29).double()
    ours = value_and_gradient(distillation_loss(student, [teacher]), student)
    expected = value_and_gradient(F.cross_entropy(student, labels), student)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_reduced_precision_is_rounded_only_at_the_end(dtype: torch.dtype) -> None:
    student, *teachers = draw(3, 64, 1000, dtype=dtype)
    exact_student = student.detach().float().requires_grad_()
    loss = distillation_loss(student, teachers)
    exact = literal_psi(exact_student, [teacher.float() for teacher in teachers])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=1e-5, atol=1e-5)
    # As a gradient scaler does it: the scale reaches the gradient before it becomes half.
    (gradient,) = torch.autograd.grad(2.0**16 * loss, student)
    (exact_gradient,) = torch.autograd.grad(2.0**16 * exact, exact_student)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, exact_gradient.to(dtype))


def test_under_autocast() -> None:
    weight, inputs = torch.randn(29, 5, requires_grad=True), torch.randn(17, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = F.linear(inputs, weight)
        loss = distillation_loss(logits, [logits + 1.0])
    assert logits.dtype == torch.bfloat16 and loss.dtype == torch.float32
    loss.backward()
    assert weight.grad is not None and weight.grad.isfinite().all()


def test_without_gradient_the_value_is_the_same() -> None:
    student, *teachers = draw(3, 17, 29)
    expected = distillation_loss(student, teachers).detach()
    loss = distillation_loss(student.detach(), teachers)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected, rtol=0, atol=0)


def test_a_second_backward_is_refused() -> None:
    student, teacher = draw(2, 17, 29)
    loss = distillation_loss(student, [teacher])
    loss.backward(retain_graph=True)
    with pytest.raises(HvcodError, match="only once"):
        loss.backward()


def test_unusable_teachers_are_refused() -> None:
    student = torch.randn(17, 29)
    with pytest.raises(HvcodError, match="at least one teacher"):
        distillation_loss(student, [])
    with pytest.raises(HvcodError, match=r"teacher 1 .*\(17, 30\).*\(17, 29\)"):
        distillation_loss(student, [student, torch.randn(17, 30)])


@pytest.mark.parametrize("teachers", [1, 3])
def test_one_logit_is_two_classes(teachers: int) -> None:
    student, *others = draw(1 + teachers, 40)
    both = [torch.stack([torch.zeros_like(each), each], dim=-1) for each in (student, *others)]
    ours = value_and_gradient(binary_distillation_loss(student, others), student)
    theirs = value_and_gradient(literal_psi(both[0], both[1:]), student)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_one_logit_far_from_zero_stays_finite() -> None:
    student = torch.tensor([200.0, -200.0, 0.0], requires_grad=True)
    teacher = torch.tensor([-200.0, 200.0, 1e4])
    loss, gradient = value_and_gradient(binary_distillation_loss(student, [teacher]), student)
    torch.testing.assert_close(loss.detach(), torch.tensor((400 + math.log(2)) / 3))
    assert gradient.isfinite().all()


def test_one_logit_in_half_precision_is_computed_in_single() -> None:
    student, teacher = torch.randn(30).half().requires_grad_(), torch.randn(30).half()
    loss = binary_distillation_loss(student, [teacher])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss, binary_distillation_loss(student.float(), [teacher.float()]), rtol=1e-6, atol=0
    )


def test_one_logit_gives_teachers_no_gradient_and_needs_one() -> None:
    student, teacher = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    binary_distillation_loss(student, [teacher]).backward()
    assert teacher.grad is None
    with pytest.raises(HvcodError, match="at least one teacher"):
        binary_distillation_loss(student, [])
    with pytest.raises(HvcodError, match="teacher 0 gave logits of shape"):
        binary_distillation_loss(student, [torch.zeros(4)])


@pytest.mark.parametrize("likelihood", ["classes", "binary"])
def test_a_loss_is_one_function_and_its_registration(likelihood: str) -> None:
    def distance(student: Tensor, teachers: Sequence[Tensor], of: str, by: float) -> Tensor:
        assert of == likelihood
        return (student - sum(teachers) / len(teachers)).abs().mean() / by

    student, *teachers = draw(3, 4, 5)
    with LOSSES.added("distance", distance):
        loss = named_loss("distance", likelihood, reuse_logits=False, temperature=2)
    expected = 4 * distance(student, teachers, likelihood, 2)
    torch.testing.assert_close(loss(student, teachers), expected)


def probabilities(logits: Tensor, likelihood: str, temperature: float) -> Tensor:
    """Returns softmax(logits / T), of the two classes no and yes if they are binary."""
    if likelihood == "binary":
        logits = torch.stack([torch.zeros_like(logits), logits], dim=-1)
    return (logits / temperature).softmax(-1)


def literal(
    name: str, student: Tensor, teachers: list[Tensor], likelihood: str, temperature: float
) -> Tensor:
    """Returns psi of the mean prediction of the teachers, softened, times T^2."""
    teachers = [teacher.detach() for teacher in teachers]
    if name == "mse":
        mean = sum(teachers, torch.zeros(())) / len(teachers)
        return temperature**2 * F.mse_loss(student / temperature, mean / temperature)
    q = probabilities(student, likelihood, temperature)
    p = torch.stack([probabilities(t, likelihood, temperature) for t in teachers]).mean(0)
    terms = {"cross-entropy": -p * q.log(), "kl": p * (p.log() - q.log())}[name]
    return temperature**2 * terms.sum(-1).mean()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("models", [2, 3, 4])
@pytest.mark.parametrize("likelihood", ["classes", "binary"])
@pytest.mark.parametrize("name", ["cross-entropy", "kl", "mse"])
def test_each_loss_has_the_gradient_of_its_transcription(
    name: str, likelihood: str, models: int, temperature: float
) -> None:
    logits = draw(models, 17, 29, dtype=torch.float32)
    exact = [each.detach().double().requires_grad_() for each in logits]
    loss = named_loss(name, likelihood, reuse_logits=False, temperature=temperature)
    for index in range(models):
        teachers = [each for other, each in enumerate(logits) if other != index]
        ours = value_and_gradient(loss(logits[index], teachers), logits[index])
        teachers = [each for other, each in enumerate(exact) if other != index]
        psi = literal(name, exact[index], teachers, likelihood, temperature)
        for mine, theirs in zip(ours, value_and_gradient(psi, exact[index]), strict=True):
            assert mine.dtype == torch.float32
            assert (mine - theirs).norm() <= 1e-6 * theirs.norm()


def test_soft_distributions_have_half_the_gradient_of_squared_errors() -> None:
    student, teacher = (logits - logits.mean(-1, keepdim=True) for logits in draw(2, 17, 29))
    student = student.detach().requires_grad_()
    soft = named_loss("kl", "classes", reuse_logits=False, temperature=1e4)(student, [teacher])
    squares = mse(student, [teacher.detach().clone()], "classes")
    both = [value_and_gradient(loss, student)[1] for loss in (soft, squares / 2)]
    torch.testing.assert_close(*both, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, kl, mse])
def test_each_loss_needs_no_more_memory_than_the_first_teachers(loss: Loss) -> None:
    student, teacher, other = draw(3, 17, 29)
    spare, last = teacher.detach().clone(), other.detach().clone()
    _, gradient = value_and_gradient(loss(student, [spare, last], "classes", 2.0), student)
    assert gradient.data_ptr() == spare.data_ptr()
    assert torch.equal(last, other)


@pytest.mark.parametrize("loss", [kl, mse])
@pytest.mark.parametrize("likelihood", ["classes", "binary"])
def test_a_divergence_of_equals_is_zero(loss: Loss, likelihood: str) -> None:
    (student,) = draw(1, 17, 29)
    psi, gradient = value_and_gradient(loss(student, [student.clone()], likelihood, 1), student)
    assert abs(psi) < 1e-12 and gradient.abs().max() < 1e-12


def test_the_divergence_of_certain_distributions_is_finite() -> None:
    student = torch.tensor([[200.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 200.0]])
    assert kl(student, [teacher], "classes").item() == 200
    assert kl(student[:, 0], [teacher[:, 0] - 200], "binary").item() == 200


def test_losses_and_likelihoods_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="--distill-loss hinge: choose one of cross-entropy"):
        named_loss("hinge", "classes", reuse_logits=False)
    with pytest.raises(UsageError, match="likelihood 'ranks': choose one of classes, binary"):
        named_loss("cross-entropy", "ranks", reuse_logits=False)
