"""Chooses the tensors that half precision does not spoil, and measures what rounding costs them."""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
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

_LARGE = 4 * 2**20

_BITS = {
    2: (torch.int16, np.uint16),
    4: (torch.int32, np.uint32),
    8: (torch.int64, np.uint64),
}


@dataclass(frozen=True)
class Rounding:
    """The type in which a tensor is stored, and the largest error: as such, and as a fraction of
    the tensor's largest magnitude."""

    stored: torch.dtype
    error: float = 0.0
    relative_error: float = 0.0


@dataclass(frozen=True)
class Rounded:
    """A tensor as it is stored, contiguous.

    Attributes:
        source: Its type before.
        problem: Why it must not be stored; empty if it may.
    """

    values: torch.Tensor
    source: torch.dtype
    rounding: Rounding
    problem: str = ""


Tensors = MutableMapping[str, torch.Tensor] | MutableMapping[str, Rounded]
"""Tensors to be stored, by name."""


@dataclass
class _Statistics:
    magnitude: float = 0.0
    error: float = 0.0
    nonzero: int = 0
    underflown: int = 0


def rounded(name: str, tensor: torch.Tensor) -> Rounded:
    """Returns a copy of `tensor`, on its device, as it is stored for teachers.

    A float tensor is stored as float16 if

    - no finite value becomes infinite, and
    - few elements underflow, that is, are below 2**-14 in magnitude and not exact as halves. Of
      a matrix (two dimensions or more) at most a tenth of the non-zero elements may: sums over
      its rows hardly change. Of a vector or scalar none may: one element is the scale, bias
      or variance of a whole channel, and a wider type for it costs next to nothing.

    So every element that did not underflow is within 2**-11 of its own magnitude. All other
    tensors are stored exactly, in a wider type. It is a problem if one holds NaN or infinite
    values: such a model must not teach.
    """
    values = tensor.detach().contiguous()
    narrowest, *wider = stored_dtypes(name, values.dtype)
    if not values.dtype.is_floating_point:
        return Rounded(values.to(narrowest, copy=True), tensor.dtype, Rounding(narrowest))
    half = new_tensor(values, torch.float16)
    if values.dtype is torch.float16:
        half.copy_(values)
        return Rounded(half, tensor.dtype, Rounding(narrowest), finite_problem(name, half))
    statistics = _measure(values, half)
    problem = "" if statistics.magnitude < float("inf") else _not_finite(name)
    share = UNDERFLOW_SHARE if values.dim() > 1 else 0.0
    if statistics.error == float("inf") or statistics.underflown > share * statistics.nonzero:
        wide = values.to(wider[0], copy=True)
        return Rounded(wide, tensor.dtype, Rounding(wider[0]), problem)
    relative = statistics.error / statistics.magnitude if statistics.magnitude else 0.0
    rounding = Rounding(narrowest, statistics.error, relative)
    return Rounded(half, tensor.dtype, rounding, problem)


def finite_problem(name: str, tensor: torch.Tensor) -> str:
    """Returns why a contiguous float tensor must not be stored: NaN, infinity; empty if it may."""
    return "" if is_finite(tensor) else _not_finite(name)


def _not_finite(name: str) -> str:
    return f"tensor {name} holds NaN or infinite values"


def as_published(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns copies of tensors, on their devices, with the values that a published file has.

    Raises:
        HvcodError: One holds NaN or infinite values.
    """
    copies = {}
    for name, tensor in tensors.items():
        copy = rounded(name, tensor)
        if copy.problem:
            raise HvcodError(copy.problem)
        copies[name] = copy.values
    return copies


def lossless(name: str, tensor: torch.Tensor) -> Rounded:
    """Returns `tensor` as it is stored exactly, NaN and infinite values too; for training states.

    A copy only if its type must change.
    """
    stored = stored_dtypes(name, tensor.dtype)[-1]
    return Rounded(tensor.detach().contiguous().to(stored), tensor.dtype, Rounding(stored))


def new_tensor(like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns a contiguous tensor of the same shape and device whose values are not set."""
    size = like.numel() * dtype.itemsize
    if like.device.type != "cpu" or size < _LARGE:
        return torch.empty(like.shape, dtype=dtype, device=like.device)
    # NumPy asks the system for huge pages: a third of the time that pages of 4 KiB took.
    return torch.from_numpy(np.empty(size, np.uint8)).view(dtype).view(like.shape)


def is_finite(tensor: torch.Tensor) -> bool:
    """Returns whether a contiguous float tensor holds neither NaN nor infinity; on one core."""
    if tensor.device.type != "cpu":
        return bool(tensor.isfinite().all())
    signed, unsigned = _BITS[tensor.itemsize]
    infinity = int(torch.tensor(float("inf"), dtype=tensor.dtype).view(signed))
    # As whole numbers, positive infinity and NaN are the largest, and among unsigned ones the
    # negative ones are. Blocks stay in the cache: many times as fast as torch.isfinite.
    sign = 1 << (8 * tensor.itemsize - 1)
    bits = (block.view(signed).numpy() for block in blocks(tensor))
    return all(
        int(each.max()) < infinity and int(each.view(unsigned).max()) < infinity | sign
        for each in bits
    )


def blocks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """A contiguous tensor in flat pieces, each worked on by one core only; on a GPU in one."""
    flat = tensor.reshape(-1)
    size = _BLOCK if tensor.device.type == "cpu" else max(1, len(flat))
    return (flat[start : start + size] for start in range(0, len(flat), size))


def _measure(tensor: torch.Tensor, half: torch.Tensor) -> _Statistics:
    """Rounds a contiguous float tensor into `half`; returns what that does to it.

    The magnitude is NaN if an element is.
    """
    statistics = _Statistics()
    for source, target in zip(blocks(tensor), blocks(half), strict=True):
        block = source.float() if source.dtype.itemsize == 2 else source
        target.copy_(block)
        magnitude = block.abs()
        error = target.to(block.dtype).sub_(block).abs_()
        # NaN must win over the maximum so far: Python's max keeps its first argument then.
        statistics.magnitude = max(float(magnitude.amax()), statistics.magnitude)
        statistics.error = max(float(error.amax()), statistics.error)
        nonzero, underflown = _counts(magnitude, error)
        statistics.nonzero += nonzero
        statistics.underflown += underflown
        if not statistics.magnitude < float("inf"):
            break
    return statistics


def _counts(magnitude: torch.Tensor, error: torch.Tensor) -> tuple[int, int]:
    """Returns how many elements are not zero, and how many underflow."""
    if magnitude.device.type != "cpu":
        underflown = (magnitude < SMALLEST_NORMAL) & (error > 0)
        return int(magnitude.count_nonzero()), int(underflown.count_nonzero())
    # On a CPU, NumPy's comparisons and counts take a sixth of the time of torch's.
    sizes = magnitude.numpy()
    tiny = sizes < SMALLEST_NORMAL
    few = int(np.count_nonzero(tiny))
    if not few:
        return len(sizes), 0
    inexact = int(np.count_nonzero((error.numpy() > 0) & tiny))
    return len(sizes) - few + int(np.count_nonzero(sizes[tiny])), inexact
