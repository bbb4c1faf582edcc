"""Task loss and distillation term of `Projected` logits, in one pass over the predictions.

The logits of student and teachers are computed for a few predictions at a time, and both losses and
their gradient with them. The gradient goes on at once to features, weight and bias of the student's
last layer: neither logits nor their gradient are ever stored whole, and each product is made once,
as the gradient of phi + w psi is the sum of both gradients of the same logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hvcod.codistill.predictions.sampled import AnyPrediction, Prediction, Sampled, magnitude
from hvcod.codistill.projected import Predicted, Projected, cast_once, computed
from hvcod.codistill.rows import SumOfRows, check_shapes, precision_of, slices
from hvcod.errors import HvcodError
from hvcod.products import add_product, linear, multiply
from hvcod.spans import BACKWARD, TEACHERS

_CPU_LOGITS, _DEVICE_LOGITS = 6 * 2**20, 2**24
"""Logits of a model that are computed at once: fewer take less memory, more make fast products."""

_HALF_SIZE = 64.0
"""About the largest gradient of a logit that is multiplied in fp16, where small ones vanish."""


class CrossEntropy:
    """The task loss of a batch with labels: the mean cross entropy of anybody's logits, in nats.

    Attributes:
        labels: Class indices, as many as there are predictions; in any shape.
        unknown: The label of predictions that are not scored.
        weight: A factor of the mean; if it is zero, so is the loss, even if nothing is scored.
    """

    def __init__(self, labels: Tensor, unknown: int = -100, weight: float = 1.0) -> None:
        self.labels, self.unknown, self.weight = labels.flatten(), unknown, weight

    def __call__(self, logits: Predicted) -> Tensor:
        """Returns the mean over scored predictions, a scalar."""
        if isinstance(logits, Projected) and logits.is_linear:
            return joint(logits, Terms(self)).total
        logits = computed(logits).flatten(0, -2)
        if not self.weight:  # the mean over no predictions is NaN
            return logits.sum() * 0.0
        logits = logits.to(precision_of(logits))
        loss = F.cross_entropy(logits, self.labels, ignore_index=self.unknown)
        return loss if self.weight == 1 else loss * self.weight


@dataclass(frozen=True)
class Terms:
    """Labels and teachers, with which the predictions of a batch are compared.

    Attributes:
        phi: Their labels.
        teachers: The predictions of each teacher, shaped like the student's.
        psi: The distillation loss; None without teachers.
        weight: The weight of its mean over all predictions.
        measures: Whether the task losses of the teachers are wanted.
    """

    phi: CrossEntropy
    teachers: Sequence[AnyPrediction] = ()
    psi: SumOfRows | None = None
    weight: float = 0.0
    measures: bool = False


class Joint(NamedTuple):
    """The results of a pass over the predictions; only `total` has a gradient.

    Attributes:
        total: The task loss plus the weighted distillation loss.
        task: The task loss.
        psi: The distillation loss, not weighted.
        sizes: The largest magnitude of each teacher's logits, then of the student's.
        teacher_losses: The task loss of each teacher, if it was wanted; zero if it is unknown.
    """

    total: Tensor
    task: Tensor
    psi: Tensor
    sizes: Tensor
    teacher_losses: Tensor


def joint(student: Projected, terms: Terms) -> Joint:
    """Returns the losses of a student whose last layer is linear; differentiable once.

    Raises:
        HvcodError: A teacher's predictions have another shape than the student's.
    """
    check_shapes(student, terms.teachers)
    layer, features = cast(nn.Linear, student.layer), student.features.flatten(0, -2)
    weight: Tensor = layer.weight
    bias: Tensor | None = layer.bias
    if not torch.is_grad_enabled():  # of which `needs_input_grad` knows nothing
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    return Joint(*_joint(features, weight, bias, student.dtype, terms))


class _Losses:
    """The losses of a batch, added up chunk by chunk, and the gradients of the logits."""

    def __init__(self, terms: Terms, like: Tensor, count: int, classes: int) -> None:
        self.terms, self.precision = terms, precision_of(like)
        known = terms.phi.labels != terms.phi.unknown
        self._labels, self._scored = torch.where(known, terms.phi.labels, 0), known.sum()
        self._share = known.to(self.precision) * terms.phi.weight / self._scored.clamp(min=1)
        predictions = [each.reshape((-1, classes)) for each in terms.teachers]
        self._teachers = [
            each.ready() if isinstance(each, Projected) else each for each in predictions
        ]
        teachers, self._count = len(predictions), count
        self._memory = like.new_empty(0)
        zeros = like.new_zeros(3 + 2 * teachers, dtype=self.precision)
        self._phi, self._psi, self._sizes, self._theirs = zeros.split(
            [1, 1, 1 + teachers, teachers]
        )

    def add(self, student: Tensor, chunk: slice, differentiates: bool, unit: float) -> None:
        """Adds those of the logits of a chunk; gradients, times `unit`, take their place."""
        teachers = [each[chunk] for each in self._teachers]
        with TEACHERS:
            theirs = [each if isinstance(each, Sampled) else computed(each) for each in teachers]
        for rows in slices(student):
            mine = student[rows]
            gradient = self._spare(mine) if differentiates else None
            labels, share = self._labels[chunk][rows, None], self._share[chunk][rows, None]
            self._distill(mine, [each[rows] for each in theirs], gradient)
            self._score(mine, labels, share, gradient)
            if self.terms.measures:
                self._measure([each[rows] for each in theirs], labels, share)
            if gradient is not None:
                mine.copy_(gradient if unit == 1 else gradient.mul_(unit))

    def _spare(self, like: Tensor) -> Tensor:
        if len(self._memory) < len(like):
            self._memory = torch.empty_like(like, dtype=self.precision)
        return self._memory[: len(like)]

    def results(self) -> tuple[Tensor, ...]:
        """Returns the fields of `Joint`."""
        # Not a number if nothing is scored, like the library's cross entropy.
        task = self._phi[0] * (self._scored / self._scored if self.terms.phi.weight else 0.0)
        psi = self._psi[0] / self._count
        return task + self.terms.weight * psi, task, psi, self._sizes, self._theirs

    def _distill(
        self, student: Tensor, teachers: Sequence[Prediction], gradient: Tensor | None
    ) -> None:
        sizes = torch.stack([magnitude(each) for each in (*teachers, student)])
        torch.maximum(self._sizes, sizes, out=self._sizes)
        if self.terms.psi is not None:
            self._psi += self.terms.psi(student, cast(list[Tensor], teachers), gradient)
            if gradient is not None:
                gradient *= self.terms.weight / self._count

    def _score(
        self, student: Tensor, labels: Tensor, share: Tensor, gradient: Tensor | None
    ) -> None:
        logs = torch.log_softmax(student, dim=-1, dtype=self.precision)
        self._phi += _task_loss(logs, labels, share)
        if gradient is None:
            return
        if self.terms.psi is None:
            torch.mul(logs.exp_(), share, out=gradient)
        else:
            gradient.addcmul_(logs.exp_(), share)
        gradient.scatter_add_(1, labels, -share)

    def _measure(self, teachers: Sequence[Prediction], labels: Tensor, share: Tensor) -> None:
        for number, each in enumerate(teachers):
            if isinstance(each, Tensor):
                logs = torch.log_softmax(each, dim=-1, dtype=self.precision)
                self._theirs[number] += _task_loss(logs, labels, share)


def _task_loss(logs: Tensor, labels: Tensor, share: Tensor) -> Tensor:
    return -torch.where(share > 0, logs.gather(1, labels) * share, 0).sum()


class _Joint(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        terms: Terms,
    ) -> tuple[Tensor, ...]:
        count, differentiates = len(features), any(ctx.needs_input_grad)
        losses = _Losses(terms, features, count, len(weight))
        unit = _HALF_SIZE * count / (1 + terms.weight) if dtype is torch.float16 else 1.0
        gradients = _Gradients(ctx.needs_input_grad, features, weight, bias)
        inputs, (matrix, offset) = features.to(dtype), cast_once(weight, bias, dtype)
        with torch.autocast(features.device.type, enabled=False):
            for chunk in _chunks(inputs, len(weight)):
                logits = linear(inputs[chunk], matrix, offset)
                losses.add(logits, chunk, differentiates, unit)
                with BACKWARD:
                    gradients.add(chunk, logits, inputs[chunk], matrix)
        ctx.gradients, ctx.unit = gradients, unit
        total, *figures = losses.results()
        ctx.mark_non_differentiable(*figures)
        return total, *figures

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # scaled in place, so usable once
        if gradients is None:
            raise HvcodError("the losses can be differentiated only once per evaluation")
        return *gradients.scaled(grad_total / ctx.unit), None, None


class _Gradients:
    """The gradients of features, weight and bias, where they are needed; else None."""

    def __init__(self, needed: Sequence[bool], *inputs: Tensor | None) -> None:
        self._sums = [
            torch.zeros_like(each, dtype=precision_of(each))
            if wanted and each is not None
            else None
            for wanted, each in zip(needed, inputs, strict=False)
        ]
        self._types = [torch.float32 if each is None else each.dtype for each in inputs]

    def add(self, chunk: slice, logits: Tensor, inputs: Tensor, matrix: Tensor) -> None:
        """Adds those of a chunk, from the gradient of its logits."""
        features, weight, bias = self._sums
        if features is not None:
            features[chunk] = multiply(logits, matrix)
        if weight is not None:
            add_product(weight, logits.t(), inputs)
        if bias is not None:
            bias += logits.sum(0, dtype=bias.dtype)

    def scaled(self, factor: Tensor) -> list[Tensor | None]:
        """Returns them times a factor, in the types of what they are gradients of; only once."""
        # A multiplication by one would take a pass through the memory of all weights.
        is_one = factor.device.type == "cpu" and factor == 1
        sums, self._sums = self._sums, []
        return [
            None if each is None else (each if is_one else each.mul_(factor)).to(dtype)
            for each, dtype in zip(sums, self._types, strict=True)
        ]


_joint = cast(Callable[..., tuple[Tensor, ...]], _Joint.apply)


def _chunks(features: Tensor, classes: int) -> Iterator[slice]:
    """Yields the predictions whose logits are in memory at the same time."""
    on_cpu = features.device.type == "cpu"
    size = max(1, (_CPU_LOGITS if on_cpu else _DEVICE_LOGITS) // classes)
    return (slice(start, start + size) for start in range(0, len(features), size))
