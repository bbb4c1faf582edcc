"""Chooses the tensors that half precision does not spoil, and measures what rounding costs them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from hvcod.errors import HvcodError
from hvcod.tensorfile.format import stored_dtypes

SMALLEST_NORMAL = torch.finfo(torch.float16).smallest_normal
"""2**-14: halves below it have fewer than 11 significant bits."""

UNDERFLOW_SHARE = 0.1
"""Share of a matrix's non-zero elements that may lose digits to underflow."""

# Blocks that stay in a core's cache, and below the size from which torch starts its threads:
# the cores belong to the training.
_BLOCK = 32_768

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Rounding:
    """The type in which a tensor is stored, and the largest error: as such, and as a fraction of
    the tensor's largest magnitude."""

    stored: torch.dtype
    error: float = 0.0
    relative_error: float = 0.0


@dataclass
class _Statistics:
    magnitude: float = 0.0
    error: float = 0.0
    nonzero: int = 0
    underflown: int = 0


def choose_storage(name: str, tensor: torch.Tensor) -> Rounding:
    """Returns how to store `tensor`, a contiguous one, for teachers.

    A float tensor is stored as float16 if

    - no finite value becomes infinite, and
    - few elements underflow, that is, are below 2**-14 in magnitude and not exact as halves. Of
      a matrix (two dimensions or more) at most a tenth of the non-zero elements may: sums over
      its rows hardly change. Of a vector or scalar none may: one element is the scale, bias
      or variance of a whole channel, and a wider type for it costs next to nothing.

    So every element that did not underflow is within 2**-11 of its own magnitude. All other
    tensors are stored exactly, in a wider type.

    Raises:
        HvcodError: The tensor holds NaN or infinite values: such a model must not teach.
    """
    narrowest, *wider = stored_dtypes(name, tensor.dtype)
    if not tensor.dtype.is_floating_point:
        return Rounding(narrowest)
    statistics = _measure(name, tensor)
    share = UNDERFLOW_SHARE if tensor.dim() > 1 else 0.0
    if statistics.error == float("inf") or statistics.underflown > share * statistics.nonzero:
        return Rounding(wider[0])
    relative = statistics.error / statistics.magnitude if statistics.magnitude else 0.0
    return Rounding(narrowest, statistics.error, relative)


def as_published(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns copies of tensors, on their devices, with the values that a published file has.

    Raises:
        HvcodError: One holds NaN or infinite values.
    """
    copies = {}
    for name, tensor in tensors.items():
        values = tensor.detach().contiguous()
        copies[name] = values.to(choose_storage(name, values).stored, copy=True)
    return copies


def lossless(name: str, tensor: torch.Tensor) -> Rounding:
    """Returns how to store `tensor` exactly, NaN and infinite values too; for training states."""
    return Rounding(stored_dtypes(name, tensor.dtype)[-1])


def is_finite(tensor: torch.Tensor) -> bool:
    """Returns whether a contiguous float tensor holds neither NaN nor infinity; on one core."""
    # By the bits: six times as fast as torch.isfinite is for float16 on a CPU.
    bits = _BITS[tensor.itemsize]
    infinity = int(torch.tensor(float("inf"), dtype=tensor.dtype).view(bits))
    sign_cleared = torch.iinfo(bits).max
    return all(int((b.view(bits) & sign_cleared).max()) < infinity for b in blocks(tensor))


def blocks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """A contiguous tensor in flat pieces, each worked on by one core only; on a GPU in one."""
    flat = tensor.reshape(-1)
    size = _BLOCK if tensor.device.type == "cpu" else max(1, len(flat))
    return (flat[start : start + size] for start in range(0, len(flat), size))


def _measure(name: str, tensor: torch.Tensor) -> _Statistics:
    statistics = _Statistics()
    for stored in blocks(tensor):
        block = stored.float() if stored.dtype.itemsize == 2 else stored
        magnitude = block.abs()
        error = (block - block.half()).abs_()
        underflown = (magnitude < SMALLEST_NORMAL) & (error > 0)
        # NaN must win over the maximum so far: Python's max keeps its first argument then.
        statistics.magnitude = max(float(magnitude.max()), statistics.magnitude)
        statistics.error = max(float(error.max()), statistics.error)
        statistics.nonzero += int(magnitude.count_nonzero())
        statistics.underflown += int(underflown.count_nonzero())
        if not statistics.magnitude < float("inf"):
            raise HvcodError(f"tensor {name} holds NaN or infinite values")
    return statistics
