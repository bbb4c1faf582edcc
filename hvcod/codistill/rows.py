"""A mean over rows of logits and its gradient, computed in one pass that needs little memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hvcod.errors import HvcodError

SumOfRows = Callable[[Tensor, Sequence[Tensor], Tensor | None], Tensor]
"""(student's rows, each teacher's rows, gradient) -> sum of the losses of some rows, a scalar.

All are [rows, columns]. It is computed in float32 at least, as the gradient is, which it fills
unless that is None. The gradient may share the memory of the first teacher's rows, element by
element: what is needed of them must be read before it is written.
"""


class Shaped(Protocol):
    """Logits, or what stands in their place."""

    @property
    def shape(self) -> torch.Size:
        """The shape of the logits."""


_CPU_CHUNK = 2**17
"""Logits of a chunk per thread: a chunk of student and teacher stays in a core's cache."""

_DEVICE_CHUNK = 2**24
"""Logits of a chunk elsewhere: few kernel launches, and temporaries of 64 MiB at most."""


def mean_over_rows(rows: SumOfRows, student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
    """Returns the mean of a loss over rows, a scalar that can be differentiated once.

    Loss and gradient are computed together, a cache-sized chunk of rows at a time. The gradient is
    kept in the memory of the first teacher's logits, if they have its precision.

    Args:
        rows: The loss.
        student: Logits [rows, columns]; gradients flow into them.
        teachers: Logits of each teacher, shaped like the student's; no gradient flows into them.
    """
    return _mean(student, [logits.detach() for logits in teachers], rows)


def check_shapes(student: Shaped, teachers: Sequence[Shaped]) -> None:
    """Raises HvcodError if a teacher's predictions are not shaped like the student's logits."""
    for index, logits in enumerate(teachers):
        if logits.shape != student.shape:
            raise HvcodError(
                f"teacher {index} gave logits of shape {tuple(logits.shape)}, "
                f"the student of shape {tuple(student.shape)}: both must see the same batch"
            )


def precision_of(logits: Tensor) -> torch.dtype:
    """Returns the type in which losses of these logits are computed: float32 at least."""
    return torch.promote_types(logits.dtype, torch.float32)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teachers: list[Tensor], rows: SumOfRows) -> Tensor:
        precision = precision_of(student)
        total = student.new_zeros((), dtype=precision)
        gradient = None
        if ctx.needs_input_grad[0]:
            reusable = teachers[0].dtype == precision
            gradient = teachers[0] if reusable else torch.empty_like(student, dtype=precision)
        for chunk in slices(student):
            into = None if gradient is None else gradient[chunk]
            total += rows(student[chunk], [logits[chunk] for logits in teachers], into)
        ctx.gradient, ctx.dtype = gradient, student.dtype
        return total / len(student)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor) -> tuple[Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None  # scaled in place, so usable once
        if gradient is None:
            raise HvcodError("the distillation loss can be differentiated only once per evaluation")
        return gradient.mul_(grad_mean / len(gradient)).to(ctx.dtype), None, None


_mean: Callable[..., Tensor] = _Mean.apply


def slices(logits: Tensor) -> Iterator[slice]:
    """Yields rows of logits [rows, columns] that are best computed together."""
    on_cpu = logits.device.type == "cpu"
    elements = _CPU_CHUNK * torch.get_num_threads() if on_cpu else _DEVICE_CHUNK
    step = max(1, elements // logits.shape[-1])
    return (slice(start, start + step) for start in range(0, len(logits), step))
