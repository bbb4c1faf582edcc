"""Distillation losses (psi of Algorithm 1); `hvcod.registry.LOSSES` gives them their names.

A loss is a function of the student's logits, the logits of each teacher and the likelihood that
they parametrise (`LIKELIHOODS`). It returns a scalar, lets no gradient flow into the teachers and
may overwrite the first teacher's logits, which nobody needs afterwards.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits

from hvcod.errors import HvcodError, UsageError
from hvcod.registry import LOSSES

Loss = Callable[[Tensor, Sequence[Tensor], str], Tensor]
"""(student's logits, logits of each teacher, likelihood) -> scalar."""

DistillationLoss = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(student's logits, logits of each teacher) -> scalar: a loss whose likelihood is settled."""

LIKELIHOODS = ("classes", "binary")
"""What logits can predict: classes in their last dimension, or the probability of a yes each."""

_CPU_CHUNK = 2**17
"""Logits of a chunk per thread: a chunk of student and teacher stays in a core's cache."""

_DEVICE_CHUNK = 2**24
"""Logits of a chunk elsewhere: few kernel launches, and temporaries of 64 MiB at most."""


def named_loss(name: str, likelihood: str, reuse_logits: bool) -> DistillationLoss:
    """Returns a loss of `hvcod.registry.LOSSES` for logits of one of the `LIKELIHOODS`.

    Unless `reuse_logits` is true it gets a copy of the first teacher's logits, to overwrite.

    Raises:
        UsageError: There is no such loss or likelihood.
    """
    if likelihood not in LIKELIHOODS:
        raise UsageError(f"likelihood {likelihood!r}: choose one of {', '.join(LIKELIHOODS)}")
    loss = LOSSES.load(name)

    def settled(student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        first = teachers[:1] if reuse_logits else [logits.clone() for logits in teachers[:1]]
        return loss(student, [*first, *teachers[1:]], likelihood)

    return settled


def cross_entropy(
    student_logits: Tensor, teacher_logits: Sequence[Tensor], likelihood: str
) -> Tensor:
    """Cross entropy of the student against the mean of the teachers' predictive distributions.

    The mean is over the distributions, not over the logits (Algorithm 1; section 2), and the loss
    is the mean over positions, in nats. With several classes its gradient is kept in the memory of
    the first teacher's logits, which saves the largest temporary of a step.

    Args:
        student_logits: [..., classes], or of any shape if they are binary; of any floating type,
            computed in float32 at least.
        teacher_logits: One tensor or more, shaped like the student's.
        likelihood: One of `LIKELIHOODS`.

    Returns:
        A scalar, which can be differentiated once.

    Raises:
        HvcodError: There is no teacher, or the logits of one differ in shape.
    """
    _check(student_logits, teacher_logits)
    if likelihood == "binary":
        return _binary(student_logits, teacher_logits)
    rows = (-1, student_logits.shape[-1])
    teachers = [logits.detach().reshape(rows) for logits in teacher_logits]
    return _classes(student_logits.reshape(rows), teachers)


def _check(student_logits: Tensor, teacher_logits: Sequence[Tensor]) -> None:
    if not teacher_logits:
        raise HvcodError("the distillation loss needs the logits of at least one teacher, got none")
    for index, logits in enumerate(teacher_logits):
        if logits.shape != student_logits.shape:
            raise HvcodError(
                f"teacher {index} gave logits of shape {tuple(logits.shape)}, "
                f"the student of shape {tuple(student_logits.shape)}: both must see the same batch"
            )


def _binary(student_logits: Tensor, teacher_logits: Sequence[Tensor]) -> Tensor:
    precision = torch.promote_types(student_logits.dtype, torch.float32)
    mean = torch.zeros_like(student_logits, dtype=precision, requires_grad=False)
    for logits in teacher_logits:
        mean += torch.sigmoid(logits.detach().to(precision))
    mean /= len(teacher_logits)
    return binary_cross_entropy_with_logits(student_logits.to(precision), mean)


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass over the logits, a cache-sized chunk of rows at a time.

    For the student's distribution q and the teachers' mean p the loss of a row is -p log q, its
    gradient q - p.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teachers: list[Tensor]) -> Tensor:
        precision = torch.promote_types(student.dtype, torch.float32)
        total = student.new_zeros((), dtype=precision)
        gradient = None
        if ctx.needs_input_grad[0]:
            reusable = teachers[0].dtype == precision
            gradient = teachers[0] if reusable else torch.empty_like(student, dtype=precision)
        for rows in _chunks(student):
            mean = torch.softmax(teachers[0][rows], dim=-1, dtype=precision)
            for teacher in teachers[1:]:
                mean += torch.softmax(teacher[rows], dim=-1, dtype=precision)
            mean /= len(teachers)
            log_student = torch.log_softmax(student[rows], dim=-1, dtype=precision)
            total -= torch.dot(mean.flatten(), log_student.flatten())
            if gradient is not None:
                torch.exp(log_student, out=gradient[rows]).sub_(mean)
        ctx.gradient, ctx.dtype = gradient, student.dtype
        return total / len(student)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None]:
        gradient, ctx.gradient = ctx.gradient, None  # scaled in place, so usable once
        if gradient is None:
            raise HvcodError("the distillation loss can be differentiated only once per evaluation")
        return gradient.mul_(grad_loss / len(gradient)).to(ctx.dtype), None


_classes: Callable[..., Tensor] = _CrossEntropy.apply


def _chunks(logits: Tensor) -> Iterator[slice]:
    on_cpu = logits.device.type == "cpu"
    elements = _CPU_CHUNK * torch.get_num_threads() if on_cpu else _DEVICE_CHUNK
    step = max(1, elements // logits.shape[-1])
    return (slice(start, start + step) for start in range(0, len(logits), step))
