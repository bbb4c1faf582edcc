"""Matrix products on CPUs by oneDNN, where torch would take MKL.

torch multiplies float32 matrices on x86 by MKL, which is slow on AMD's processors: on Zen 5 it
makes 95 GFLOP/s a core, and oneDNN, with which torch multiplies halves, 200 (torch 2.13). On
Intel's processors neither was measured.
oneDNN's entry for float32 is `torch.ops.mkldnn._linear_pointwise`, which compiled models call; it
can also take a weight that was put in order once (`Weights`). Where torch has no oneDNN, or
``torch.backends.mkldnn.enabled`` is false, all is as without this module.

The results of both are float32 sums of the same products in another order.
"""

import functools
import platform
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_LEAST = 2**20
"""Products of numbers in a matrix product below which a call of oneDNN gains nothing."""

_ROWS = 1024
"""Rows of a sum of products that are computed at once."""


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Returns left [m, k] times right [k, n], for which there will be no gradient.

    Either may be the transpose of a contiguous matrix. Autocast changes nothing here.
    """
    if _suits(left, right.dtype, len(left) * right.numel()):
        return _by_onednn(left, right.t())
    # Autocast leaves products alone that are written to a given tensor.
    return torch.mm(left, right, out=left.new_empty(len(left), right.shape[1]))


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns inputs [..., k] times the transpose of weight [n, k], plus bias [n].

    As `torch.nn.functional.linear`, but gradients can be taken once only.
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return F.linear(inputs, weight, bias)
    if not _suits(inputs, weight.dtype, inputs.numel() * len(weight)):
        return F.linear(inputs, weight, bias)
    product = _linear(inputs.reshape(-1, inputs.shape[-1]), weight, bias)
    return product.view(*inputs.shape[:-1], -1)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left [m, k] times right [k, n] to the total [m, n] in place, see `multiply`."""
    if total.dtype is not left.dtype:
        # Halves hold the sum of so many products; the rest is added in the type of the total.
        for some, factor in zip(left.split(_ROWS, dim=1), right.split(_ROWS), strict=True):
            total += multiply(some, factor)
    elif not _suits(left, right.dtype, len(left) * right.numel()):
        total.addmm_(left, right)
    else:
        # The product of some rows is added while it is in the processor's cache.
        for some, factor in zip(total.split(_ROWS), left.split(_ROWS), strict=True):
            some += multiply(factor, right)


class Linear(nn.Linear):
    """A linear layer whose products are those of `linear`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps inputs [..., in_features] to [..., out_features]."""
        return linear(inputs, self.weight, self.bias)


def is_linear(kind: type[nn.Module]) -> bool:
    """Returns whether modules of a class do what an ``nn.Linear`` does, and nothing else."""
    return issubclass(kind, nn.Linear) and kind.forward in (nn.Linear.forward, Linear.forward)


class Weights:
    """A matrix by which many inputs of the same number of rows are multiplied in turns.

    It must stay as it is while they are; nothing has gradients, and autocast changes nothing.
    """

    def __init__(self, weight: Tensor, rows: int) -> None:
        """Prepares the transpose of weight [n, k] for inputs [rows, k] of its type."""
        self._factor, self._packed = weight.t(), None
        if _suits(weight, weight.dtype, rows * weight.numel(), halves=True):
            pack = torch.ops.mkldnn._reorder_linear_weight.default
            self._packed = pack(weight.contiguous(), rows)

    def multiply(self, inputs: Tensor, out: Tensor) -> None:
        """Writes inputs [rows, k] times the transpose to out [rows, n], of this or a wider type."""
        if self._packed is not None:
            out.copy_(_by_onednn(inputs, self._packed))
        elif inputs.dtype is out.dtype:
            torch.mm(inputs, self._factor, out=out)
        else:
            out.copy_(multiply(inputs, self._factor))


class _Linear(torch.autograd.Function):
    """`linear` of matrices that suit oneDNN."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _by_onednn(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        return (
            multiply(grad, weight) if ctx.needs_input_grad[0] else None,
            multiply(grad.t(), inputs) if ctx.needs_input_grad[1] else None,
            grad.sum(0) if ctx.needs_input_grad[2] else None,
        )


_linear: Callable[..., Tensor] = _Linear.apply


def _by_onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns inputs [m, k] times the transpose of a weight [n, k], in order or not."""
    if not (weight.is_mkldnn or weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(
        inputs, weight, bias, "none", [], ""
    )
    return product


def _suits(inputs: Tensor, dtype: torch.dtype, products: int, halves: bool = False) -> bool:
    """Returns whether oneDNN gains: for halves, which torch gives to it anyway, only in order."""
    return (
        products >= _LEAST
        and inputs.device.type == "cpu"
        and inputs.dtype is dtype
        and bool(torch.backends.mkldnn.enabled)
        and dtype in _numbers()
        and (halves or dtype is torch.float32)
    )


@functools.cache
def _numbers() -> Container[torch.dtype]:
    """Returns the types that oneDNN multiplies on this CPU; none, if torch has no such entry."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return ()
    ones = torch.ones(16, 16)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight.default(ones, 16)
        works = torch.equal(_by_onednn(ones, packed, ones[0]), torch.full_like(ones, 17))
        halves = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError, TypeError):  # Another torch than those it was tried with.
        return ()
    return (torch.float32, *[torch.bfloat16] * halves) if works else ()
