"""Reads a published checkpoint that fits the local model."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hvcod.files.regular import open_regular
from hvcod.tensorfile.decode import Content, claims_of, decode_tensors, read_whole
from hvcod.tensorfile.encode import largest_file
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.format import TensorSpec, dtype_name, stored_dtypes
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import is_finite

Others = Callable[[str, Mapping[str, TensorSpec]], Mapping[str, TensorSpec]]
"""(architecture that a file names, tensors that it claims to hold) -> those that it must hold.

Raises RefusedError if there is no such model. May be called on any thread.
"""


def decode(
    content: bytes | bytearray | memoryview | NDArray[np.uint8] | Content,
    expected: Mapping[str, TensorSpec],
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Returns the origin and the tensors of a published checkpoint from the bytes of its file.

    It must fit `expected`, the `specification` of the local model: names and shapes must be the
    same, its types must be able to hold the values, and none may be NaN or infinite. The tensors
    are in the order of `expected`, mostly float16 and views of the bytes.

    Raises:
        DamagedError: The bytes are not as hvcod wrote them.
        RefusedError: They do not fit, or hold what this hvcod does not write.
    """
    origin, tensors = decode_tensors(content)
    if missing := [name for name in expected if name not in tensors]:
        raise RefusedError(f"tensor {missing[0]} is missing ({len(missing)} in all)")
    if unknown := sorted(set(tensors).difference(expected)):
        raise RefusedError(f"tensor {unknown[0]} is not in the local model ({len(unknown)} in all)")
    for name, spec in expected.items():
        _check(name, tensors[name], spec)
    return origin, {name: tensors[name] for name in expected}


def read_checkpoint(
    path: Path,
    expected: Mapping[str, TensorSpec],
    ours: str = "",
    others: Others | None = None,
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Reads and verifies one published checkpoint; raises what `read_file` and `decode` do.

    Args:
        expected: The tensors of the architecture `ours`, and of a file that names none.
        others: Says which ones a file must have that names another; None: the same ones.
    """
    with open_regular(path) as file:
        claims = claims_of(file) if others else None
        if others is None or claims is None or claims[0].model in ("", ours):
            return decode(read_whole(file, largest_file(expected)), expected)
        claimed, held = claims
        expected = others(claimed.model, held)
        try:
            origin, read = decode(read_whole(file, largest_file(expected)), expected)
        except RefusedError as error:
            raise RefusedError(f"does not hold the model that it describes: {error}") from error
    if origin.model != claimed.model:
        raise DamagedError("has changed while it was read")
    return origin, read


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
