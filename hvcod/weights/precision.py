"""Weights in another precision, and what is lost by it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hvcod.errors import HvcodError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of floating-point tensors in a file, by name."""


@dataclass(frozen=True)
class Rounding:
    """The losses of tensors in another precision.

    Attributes:
        error: The largest difference of a value from what it was.
        tensor: The name of its tensor; empty if there is none.
        vanished: {name: values that were not zero and are now}; without those that have none.
    """

    error: float
    tensor: str
    vanished: Mapping[str, int]


def converted(tensors: Mapping[str, Tensor], precision: str) -> tuple[dict[str, Tensor], Rounding]:
    """Returns tensors, the floating-point ones in another precision, and what is lost.

    Integers and booleans stay as they are. Each result has memory of its own.

    Raises:
        HvcodError: A finite value would become infinite; names all tensors that hold such.
    """
    dtype, results = PRECISIONS[precision], dict[str, Tensor]()
    largest, worst, vanished = 0.0, "", dict[str, int]()
    beyond: list[str] = []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.dtype is dtype:
            results[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
            continue
        tensor = tensor.detach()
        now = tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
        finite = tensor.isfinite()
        if bool((finite & ~now.isfinite()).any()):
            beyond.append(f"{name} (up to {float(tensor[finite].abs().max()):g})")
        elif lost := int(((now == 0) & (tensor != 0)).sum()):
            vanished[name] = lost
        if finite.any() and not beyond:
            wide = torch.promote_types(tensor.dtype, torch.float32)
            error = float((now[finite].to(wide) - tensor[finite]).abs().max())
            if error > largest:
                largest, worst = error, name
        results[name] = now
    if beyond:
        limit = f"{torch.finfo(dtype).max:g}"
        raise HvcodError(
            f"--precision {precision} ends at {limit}, and these tensors have larger values: "
            f"{', '.join(beyond)}; use a wider one"
        )
    return results, Rounding(largest, worst, vanished)
