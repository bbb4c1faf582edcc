"""Reads a published checkpoint that fits the local model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.encode import largest_file
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import TensorSpec, dtype_name, stored_dtypes
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import is_finite


def decode(
    data: bytes | bytearray | memoryview | NDArray[np.uint8], expected: Mapping[str, TensorSpec]
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Returns the origin and the tensors of a published checkpoint from the bytes of its file.

    It must fit `expected`, the `specification` of the local model: names and shapes must be the
    same, its types must be able to hold the values, and none may be NaN or infinite. The tensors
    are in the order of `expected`, mostly float16 and views of `data`.

    Raises:
        DamagedError: The bytes are not as hvcod wrote them.
        RefusedError: They do not fit, or hold what this hvcod does not write.
    """
    origin, tensors = decode_tensors(data)
    if missing := [name for name in expected if name not in tensors]:
        raise RefusedError(f"tensor {missing[0]} is missing ({len(missing)} in all)")
    if unknown := sorted(set(tensors).difference(expected)):
        raise RefusedError(f"tensor {unknown[0]} is not in the local model ({len(unknown)} in all)")
    for name, spec in expected.items():
        _check(name, tensors[name], spec)
    return origin, {name: tensors[name] for name in expected}


def read_checkpoint(
    path: Path, expected: Mapping[str, TensorSpec]
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Reads and verifies one published checkpoint; raises what `read_file` and `decode` do."""
    return decode(read_file(path, largest_file(expected)), expected)


def _check(name: str, tensor: torch.Tensor, spec: TensorSpec) -> None:
    if not _holds(name, spec.dtype, tensor.dtype):
        kind = dtype_name(tensor.dtype)
        raise RefusedError(f"tensor {name} holds {kind} values; the local model's are {spec.dtype}")
    if (shape := tuple(tensor.shape)) != spec.shape:
        raise RefusedError(f"tensor {name} has shape {shape}; the local model's is {spec.shape}")
    if tensor.is_floating_point() and not is_finite(tensor):
        raise RefusedError(f"tensor {name} holds NaN or infinite values")


def _holds(name: str, local: torch.dtype, arrived: torch.dtype) -> bool:
    """Returns whether a local tensor can hold values that arrived: floats may be narrower."""
    if not (local.is_floating_point and arrived.is_floating_point):
        return local == arrived
    widest = stored_dtypes(name, local)[-1]
    return torch.promote_types(arrived, widest) == widest
