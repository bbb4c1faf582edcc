"""The distillation loss (psi of Algorithm 1): agreement with the teachers' mean prediction."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits

from hvcod.errors import HvcodError

_CPU_CHUNK = 2**17
"""Logits of a chunk per thread: a chunk of student and teacher stays in a core's cache."""

_DEVICE_CHUNK = 2**24
"""Logits of a chunk elsewhere: few kernel launches, and temporaries of 64 MiB at most."""


def distillation_loss(
    student_logits: Tensor, teacher_logits: Sequence[Tensor], *, overwrite_teachers: bool = False
) -> Tensor:
    """Cross entropy of the student against the mean of the teachers' predictive distributions.

    The mean is over the distributions, not over the logits (Algorithm 1; section 2), and the loss
    is the mean over positions, in nats. No gradient flows into the teachers.

    Args:
        student_logits: [..., classes], any floating type; computed in float32 at least.
        teacher_logits: One tensor or more, shaped like the student's.
        overwrite_teachers: Keep the gradient in the memory of the first teacher's logits, which
            are lost. Saves the largest temporary of a step; for logits that nobody needs any more.

    Returns:
        The loss, a scalar. It can be differentiated once.

    Raises:
        HvcodError: There is no teacher, or one whose logits differ in shape.
    """
    _check(student_logits, teacher_logits)
    rows = (-1, student_logits.shape[-1])
    teachers = [logits.detach().reshape(rows) for logits in teacher_logits]
    return _distillation(student_logits.reshape(rows), teachers, overwrite_teachers)


def binary_distillation_loss(student_logits: Tensor, teacher_logits: Sequence[Tensor]) -> Tensor:
    """The same for one logit of a yes: cross entropy against the teachers' mean probability.

    The mean is over the probabilities, not over the logits (Algorithm 1; section 2), and the loss
    is the mean over positions, in nats. No gradient flows into the teachers.

    Args:
        student_logits: Of any shape and floating type; computed in float32 at least.
        teacher_logits: One tensor or more, shaped like the student's.

    Raises:
        HvcodError: There is no teacher, or one whose logits differ in shape.
    """
    _check(student_logits, teacher_logits)
    precision = torch.promote_types(student_logits.dtype, torch.float32)
    mean = torch.zeros_like(student_logits, dtype=precision, requires_grad=False)
    for logits in teacher_logits:
        mean += torch.sigmoid(logits.detach().to(precision))
    mean /= len(teacher_logits)
    return binary_cross_entropy_with_logits(student_logits.to(precision), mean)


def _check(student_logits: Tensor, teacher_logits: Sequence[Tensor]) -> None:
    if not teacher_logits:
        raise HvcodError("the distillation loss needs the logits of at least one teacher, got none")
    for index, logits in enumerate(teacher_logits):
        if logits.shape != student_logits.shape:
            raise HvcodError(
                f"teacher {index} gave logits of shape {tuple(logits.shape)}, "
                f"the student of shape {tuple(student_logits.shape)}: both must see the same batch"
            )


class _Distillation(torch.autograd.Function):
    """Loss and gradient in one pass over the logits, a cache-sized chunk of rows at a time.

    For the student's distribution q and the teachers' mean p the loss of a row is -p log q, its
    gradient q - p.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teachers: list[Tensor], overwrite: bool) -> Tensor:
        precision = torch.promote_types(student.dtype, torch.float32)
        total = student.new_zeros((), dtype=precision)
        gradient = None
        if ctx.needs_input_grad[0]:
            reusable = overwrite and teachers[0].dtype == precision
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
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None  # scaled in place: good for one use
        if gradient is None:
            raise HvcodError("the distillation loss can be differentiated only once per evaluation")
        return gradient.mul_(grad_loss / len(gradient)).to(ctx.dtype), None, None


_distillation: Callable[..., Tensor] = _Distillation.apply


def _chunks(logits: Tensor) -> Iterator[slice]:
    on_cpu = logits.device.type == "cpu"
    elements = _CPU_CHUNK * torch.get_num_threads() if on_cpu else _DEVICE_CHUNK
    step = max(1, elements // logits.shape[-1])
    return (slice(start, start + step) for start in range(0, len(logits), step))
