"""Distillation losses (psi of Algorithm 1); `hvcod.registry.LOSSES` gives them their names.

A loss is a function of the student's logits, the logits of each teacher, the likelihood that they
parametrise (`LIKELIHOODS`) and the temperature by which they are divided. It returns a mean over
positions, a scalar that can be differentiated once; it lets no gradient flow into the teachers and
may overwrite the first teacher's logits, which nobody needs afterwards.

The logits are of any floating type and computed in float32 at least: [..., classes], or of any
shape if they are binary; those of all models have the same shape. A loss raises HvcodError if they
have not, or if there is no teacher.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hvcod.codistill.predictions.sampled import distribution, softened, whole
from hvcod.codistill.rows import SumOfRows, check_shapes, mean_over_rows, precision_of
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.registry import LOSSES

Loss = Callable[[Tensor, Sequence[Tensor], str, float], Tensor]
"""(student's logits, logits of each teacher, likelihood, temperature) -> scalar."""

DistillationLoss = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(student's logits, logits of each teacher) -> scalar: a loss whose options are settled."""

TAKE_SAMPLES = ("cross-entropy",)
"""The losses to which sampled predictions may come in the place of a teacher's logits."""

LIKELIHOODS = ("classes", "binary")
"""What logits can predict: classes in their last dimension, or the probability of a yes each."""


def chosen_loss(options: CodistillOptions, likelihood: str, reuse_logits: bool) -> "NamedLoss":
    """Returns the loss that options of codistillation name; see `named_loss`."""
    return named_loss(options.distill_loss, likelihood, reuse_logits, options.temperature)


def named_loss(
    name: str, likelihood: str, reuse_logits: bool, temperature: float = 1.0
) -> "NamedLoss":
    """Returns a loss of `hvcod.registry.LOSSES` for logits of one of the `LIKELIHOODS`.

    Unless `reuse_logits` is true it gets a copy of the first teacher's logits, to overwrite.

    Raises:
        UsageError: There is no such loss or likelihood.
    """
    if likelihood not in LIKELIHOODS:
        raise UsageError(f"likelihood {likelihood!r}: choose one of {', '.join(LIKELIHOODS)}")
    return NamedLoss(name, LOSSES.load(name), likelihood, reuse_logits, temperature)


@dataclass(frozen=True)
class NamedLoss:
    """A loss whose options are settled.

    It is multiplied by the square of the temperature, by which the gradients of softer
    distributions are smaller (Hinton et al., arXiv 1503.02531, section 2).
    """

    name: str
    loss: Loss
    likelihood: str
    reuse_logits: bool
    temperature: float

    def __call__(self, student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """Returns the loss, a scalar."""
        teachers = self._usable(teachers)
        first = teachers[:1] if self.reuse_logits else [logits.clone() for logits in teachers[:1]]
        psi = self.loss(student, [*first, *teachers[1:]], self.likelihood, self.temperature)
        return psi if self.temperature == 1 else self.temperature**2 * psi

    @property
    def rows(self) -> SumOfRows | None:
        """The same loss of classes as a sum over rows; None if it is not known as such."""
        of_rows = _BY_ROWS.get(self.loss) if self.likelihood == "classes" else None
        if of_rows is None:
            return None

        def rows(student: Tensor, teachers: Sequence[Tensor], gradient: Tensor | None) -> Tensor:
            total = of_rows(self.temperature, student, self._usable(teachers), gradient)
            if self.temperature != 1 and gradient is not None:
                gradient *= self.temperature**2
            return self.temperature**2 * total

        return rows

    def _usable(self, teachers: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.name in TAKE_SAMPLES:
            return teachers
        return [whole(prediction, f"--distill-loss {self.name}") for prediction in teachers]


def cross_entropy(
    student: Tensor, teachers: Sequence[Tensor], likelihood: str, temperature: float = 1.0
) -> Tensor:
    """Cross entropy of the student against the mean of the teachers' distributions, in nats.

    The mean is over the distributions, not over the logits (Algorithm 1; section 2). With several
    classes the gradient is kept in the memory of the first teacher's logits, which saves the
    largest temporary of a step. Sampled predictions may stand for the logits of any teacher, as the
    loss is linear in the teachers' distributions.
    """
    _check(student, teachers)
    if likelihood == "binary":
        logits, mean = _binary(student, teachers, temperature)
        return binary_cross_entropy_with_logits(logits, mean)
    return _over_classes(partial(_cross_entropy_of_rows, temperature), student, teachers)


def kl(
    student: Tensor, teachers: Sequence[Tensor], likelihood: str, temperature: float = 1.0
) -> Tensor:
    """KL divergence of the mean of the teachers' distributions from the student's, in nats.

    That is `cross_entropy` less the entropy of the mean. So its gradient is the same, and it is
    zero where the student agrees with its teachers.
    """
    _check(student, teachers)
    if likelihood == "binary":
        logits, mean = _binary(student, teachers, temperature)
        entropy: Tensor = torch.special.entr(mean) + torch.special.entr(1 - mean)
        return binary_cross_entropy_with_logits(logits, mean) - entropy.mean()
    return _over_classes(partial(_kl_of_rows, temperature), student, teachers)


def mse(
    student: Tensor, teachers: Sequence[Tensor], likelihood: str, temperature: float = 1.0
) -> Tensor:
    """Squared error of the student's logits against the mean of the teachers' logits.

    The mean is over positions and classes, so that a weight means the same for any number of
    classes. Multiplied by the square of the temperature it does not depend on it.
    """
    _check(student, teachers)
    columns = [logits.reshape(-1, 1) for logits in (student, *teachers)]
    return mean_over_rows(_squares_of_rows, columns[0], columns[1:]) / temperature**2


def _check(student: Tensor, teachers: Sequence[Tensor]) -> None:
    if not teachers:
        raise HvcodError("the distillation loss needs the logits of at least one teacher, got none")
    check_shapes(student, teachers)


def _binary(
    student: Tensor, teachers: Sequence[Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    """Returns the student's logits, softened, and the mean probability of a yes of the teachers."""
    precision = precision_of(student)
    mean = torch.zeros_like(student, dtype=precision, requires_grad=False)
    for logits in teachers:
        mean += torch.sigmoid(softened(logits.detach(), temperature).to(precision))
    mean /= len(teachers)
    return softened(student, temperature).to(precision), mean


def _over_classes(loss: SumOfRows, student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
    rows = (-1, student.shape[-1])
    return mean_over_rows(
        loss, student.reshape(rows), [logits.reshape(rows) for logits in teachers]
    )


def _cross_entropy_of_rows(
    temperature: float, student: Tensor, teachers: Sequence[Tensor], gradient: Tensor | None
) -> Tensor:
    """For the student's distribution q and the teachers' mean p, a row's loss is -p log q."""
    log_student, mean = _distributions(student, teachers, temperature)
    loss = -torch.dot(mean.flatten(), log_student.flatten())
    _fill(gradient, log_student, mean, temperature)
    return loss


def _kl_of_rows(
    temperature: float, student: Tensor, teachers: Sequence[Tensor], gradient: Tensor | None
) -> Tensor:
    log_student, mean = _distributions(student, teachers, temperature)
    # Faster than kl_div; where p is zero, so is the product.
    ratio = mean.clamp_min(torch.finfo(mean.dtype).tiny).log_().sub_(log_student)
    loss = torch.dot(mean.flatten(), ratio.flatten())
    _fill(gradient, log_student, mean, temperature)
    return loss


def _distributions(
    student: Tensor, teachers: Sequence[Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    """Returns the student's log-probabilities and the teachers' mean probabilities."""
    precision = precision_of(student)
    mean = distribution(teachers[0], precision, temperature)
    for prediction in teachers[1:]:
        mean += distribution(prediction, precision, temperature)
    mean /= len(teachers)
    return torch.log_softmax(softened(student, temperature), dim=-1, dtype=precision), mean


def _fill(gradient: Tensor | None, log_student: Tensor, mean: Tensor, temperature: float) -> None:
    """The gradient of both losses is q - p, divided by the temperature."""
    if gradient is not None:
        torch.exp(log_student, out=gradient).sub_(mean)
        if temperature != 1:
            gradient /= temperature


def _squares_of_rows(
    student: Tensor, teachers: Sequence[Tensor], gradient: Tensor | None
) -> Tensor:
    precision = precision_of(student)
    mean = teachers[0].to(precision)
    if len(teachers) > 1:
        mean = sum((logits.to(precision) for logits in teachers[1:]), mean) / len(teachers)
    difference = student.to(precision) - mean
    if gradient is not None:
        torch.mul(difference, 2, out=gradient)
    return difference.square().sum()


def _mean_squares_of_rows(
    temperature: float, student: Tensor, teachers: Sequence[Tensor], gradient: Tensor | None
) -> Tensor:
    """The mean over the classes of each row."""
    share = 1 / (student.shape[-1] * temperature**2)
    squares = _squares_of_rows(student, teachers, gradient)
    if gradient is not None:
        gradient *= share
    return share * squares


_BY_ROWS: dict[Loss, Callable[[float, Tensor, Sequence[Tensor], Tensor | None], Tensor]] = {
    cross_entropy: _cross_entropy_of_rows,
    kl: _kl_of_rows,
    mse: _mean_squares_of_rows,
}
"""The losses of classes that are sums over rows: (temperature, as in `SumOfRows`) -> sum."""
