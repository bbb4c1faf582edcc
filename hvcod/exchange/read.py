"""Reads a published checkpoint that fits the local model."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hvcod.exchange.changes import ROWS
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


Bytes = bytes | bytearray | memoryview | NDArray[np.uint8] | Content
"""A file, as it was read."""


def decode(
    content: Bytes, expected: Mapping[str, TensorSpec]
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Returns the origin and the tensors of a whole published checkpoint from its bytes.

    It must fit `expected`, the `specification` of the local model: names and shapes must be the
    same, its types must be able to hold the values, and none may be NaN or infinite. The tensors
    are in the order of `expected`, mostly float16 and views of the bytes.

    Raises:
        DamagedError: The bytes are not as hvcod wrote them.
        RefusedError: They do not fit, or hold what this hvcod does not write.
    """
    origin, tensors = decode_tensors(content)
    if origin.base is not None:
        raise RefusedError(f"holds changes upon step {origin.base}, not whole weights")
    _check_names(tensors, expected)
    for name, spec in expected.items():
        _check(name, tensors[name], spec)
    return origin, {name: tensors[name] for name in expected}


def decode_changes(
    content: Bytes, expected: Mapping[str, TensorSpec]
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Returns the origin and the tensors of a file with changes (`hvcod.exchange.changes`).

    The weights that they make must fit `expected`; see `decode`.
    """
    origin, tensors = decode_tensors(content)
    if origin.base is None:
        raise RefusedError("holds whole weights, not changes")
    rows = {name: name + ROWS for name in expected if name + ROWS in tensors}
    _check_names(tensors, [*expected, *rows.values()])
    for name, spec in expected.items():
        if name in rows:
            numbers = tensors[rows[name]]
            _check_rows(name, numbers, spec)
            spec = TensorSpec((len(numbers), *spec.shape[1:]), spec.dtype)
        _check(name, tensors[name], spec)
    return origin, tensors


def read_checkpoint(
    path: Path,
    expected: Mapping[str, TensorSpec],
    ours: str = "",
    others: Others | None = None,
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Reads and verifies one whole published checkpoint; raises what `read_file` and `decode` do.

    Args:
        expected: The tensors of the architecture `ours`, and of a file that names none.
        others: Says which ones a file must have that names another; None: the same ones.
    """
    return _read(path, expected, ours, others, decode)


def read_changes(
    path: Path,
    expected: Mapping[str, TensorSpec],
    ours: str = "",
    others: Others | None = None,
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Reads and verifies one file with changes; see `read_checkpoint`."""
    return _read(path, expected, ours, others, decode_changes)


def _read(
    path: Path,
    expected: Mapping[str, TensorSpec],
    ours: str,
    others: Others | None,
    decode: Callable[..., tuple[Origin, dict[str, torch.Tensor]]],
) -> tuple[Origin, dict[str, torch.Tensor]]:
    with open_regular(path) as file:
        claims = claims_of(file) if others else None
        if others is None or claims is None or claims[0].model in ("", ours):
            return decode(read_whole(file, _largest(expected)), expected)
        claimed, held = claims
        expected = others(claimed.model, held)
        try:
            origin, read = decode(read_whole(file, _largest(expected)), expected)
        except RefusedError as error:
            raise RefusedError(f"does not hold the model that it describes: {error}") from error
    if origin.model != claimed.model:
        raise DamagedError("has changed while it was read")
    return origin, read


def _largest(expected: Mapping[str, TensorSpec]) -> int:
    """Returns bytes that no file exceeds, with changes or without."""
    rows = {n + ROWS: TensorSpec(s.shape[:1], torch.int64) for n, s in expected.items()}
    return largest_file({**expected, **rows})


def _check_names(held: Collection[str], expected: Sequence[str] | Mapping[str, TensorSpec]) -> None:
    if missing := [name for name in expected if name not in held]:
        raise RefusedError(f"tensor {missing[0]} is missing ({len(missing)} in all)")
    if unknown := sorted(set(held).difference(expected)):
        raise RefusedError(f"tensor {unknown[0]} is not in the local model ({len(unknown)} in all)")


def _check_rows(name: str, rows: torch.Tensor, spec: TensorSpec) -> None:
    whole = rows.dtype in (torch.int32, torch.int64) and rows.dim() == 1 and spec.shape
    ascending = whole and bool((rows.diff() > 0).all())
    if not ascending or (len(rows) and not 0 <= int(rows[0]) <= int(rows[-1]) < spec.shape[0]):
        raise RefusedError(f"tensor {name} has changes in rows that it does not have")


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
