"""The types of tensors that a file can hold, and the HDF5 types in which they are stored."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from h5py import h5t

from hvcod.errors import HvcodError

ALIGNMENT = 64
"""The values of every tensor begin at a multiple of it, in bytes."""

HDF5_TYPES: dict[torch.dtype, h5t.TypeID] = {
    torch.float16: h5t.IEEE_F16LE,
    torch.float32: h5t.IEEE_F32LE,
    torch.float64: h5t.IEEE_F64LE,
    torch.int8: h5t.STD_I8LE,
    torch.int16: h5t.STD_I16LE,
    torch.int32: h5t.STD_I32LE,
    torch.int64: h5t.STD_I64LE,
    torch.uint8: h5t.STD_U8LE,
    torch.uint16: h5t.STD_U16LE,
    torch.uint32: h5t.STD_U32LE,
    torch.uint64: h5t.STD_U64LE,
}
"""The HDF5 types, little-endian on every machine, in which values are stored."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of one tensor of the local model."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def specification(tensors: Mapping[str, torch.Tensor]) -> dict[str, TensorSpec]:
    """Shapes and types of the model whose `state_dict()` is `tensors`."""
    return {name: TensorSpec(tuple(t.shape), t.dtype) for name, t in tensors.items()}


def stored_dtypes(name: str, source: torch.dtype) -> tuple[torch.dtype, ...]:
    """The types in which tensor `name` of type `source` may be stored, narrowest first.

    Floats become float16 or, where that would spoil them, keep a type that holds them exactly
    (bfloat16 becomes float32, which every HDF5 tool knows). Integers keep their type; booleans
    become bytes. Raises HvcodError for a type that cannot be stored.
    """
    if source is torch.bfloat16:
        return torch.float16, torch.float32
    if source in (torch.float32, torch.float64):
        return torch.float16, source
    if source is torch.bool:
        return (torch.uint8,)
    if source in HDF5_TYPES:
        return (source,)
    raise HvcodError(f"tensor {name} has type {source}, which cannot be stored")


def dtype_name(dtype: torch.dtype) -> str:
    """Returns the name of a type, such as ``float16``."""
    return str(dtype).removeprefix("torch.")


def dtype_called(name: object) -> torch.dtype | None:
    """The type with that name that a tensor can have had or be stored in; None if there is none."""
    types = (torch.bool, torch.bfloat16, *HDF5_TYPES)
    return next((dtype for dtype in types if dtype_name(dtype) == name), None)
