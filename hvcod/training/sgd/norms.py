"""Squared norms of gradients, exact enough for their differences."""

from collections.abc import Iterable

import torch
from torch import Tensor

_CHUNK = 1 << 16
"""Numbers that are added up in single precision; of ten million the sum is off by 0.1%."""


def square_of(gradients: Iterable[Tensor | None]) -> Tensor:
    """Returns the sum of the squares of all gradients: a float64 scalar on their device.

    A sparse gradient may have several entries for a row.
    """
    values = [_values(each) for each in gradients if each is not None]
    return torch.stack([_square(each) for each in values]).sum()


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _square(values: Tensor) -> Tensor:
    flat = values.detach().reshape(-1)
    whole = len(flat) // _CHUNK * _CHUNK
    dtype = torch.promote_types(flat.dtype, torch.float32)
    norms = torch.linalg.vector_norm(flat[:whole].view(-1, _CHUNK), dim=1, dtype=dtype)
    rest = torch.linalg.vector_norm(flat[whole:], dtype=dtype)
    return torch.cat([norms, rest[None]]).double().square().sum()
