"""What a file is made of: a user block that verifies itself, then an HDF5 image.

Published checkpoints and training states alike; they differ in their attributes and precision.

    512 bytes   user block: magic word, format version, step, size and SHA-256 of the image
    the rest    HDF5 image: one contiguous dataset per tensor, what it says of itself as root
                attributes

HDF5 looks for its signature at byte 0, 512, 1024, ..., so every HDF5 tool opens the file as it
is, while a reader can prove that the bytes are whole before libhdf5 sees any of them.
"""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from h5py import h5t

from hvcod.errors import HvcodError
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.layout import FILE_TYPES, USER_BLOCK

FORMAT_VERSION = 1
# Like PNG's: the high bit and the line end show a transfer that changed text.
_MAGIC = b"\x89HVCOD\r\n"
_HEADER = struct.Struct("<8sIQQ32s")

# What libhdf5 needs beside the values, at most; measured: about 800 bytes a tensor.
_FILE_OVERHEAD = 64 * 1024
_TENSOR_OVERHEAD = 4 * 1024

_TYPES: dict[torch.dtype, h5t.TypeID] = {
    getattr(torch, name): kind for name, kind in FILE_TYPES.items()
}


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of one tensor of the local model."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        """Number of values; 1 for a scalar."""
        return math.prod(self.shape)


def specification(tensors: Mapping[str, torch.Tensor]) -> dict[str, TensorSpec]:
    """What a checkpoint must hold to fit the model whose `state_dict()` is `tensors`."""
    return {name: TensorSpec(tuple(t.shape), t.dtype) for name, t in tensors.items()}


def stored_dtypes(name: str, source: torch.dtype) -> tuple[torch.dtype, ...]:
    """The types in which tensor `name` of type `source` may be stored, narrowest first.

    Floats become float16 or, where that would lose them, keep a type that holds them exactly
    (bfloat16 becomes float32, which every HDF5 tool knows). Integers stay as they are; booleans
    become bytes. Raises HvcodError for a type that cannot be stored.
    """
    if source is torch.float16:
        return (source,)
    if source is torch.bfloat16:
        return torch.float16, torch.float32
    if source in (torch.float32, torch.float64):
        return torch.float16, source
    if source is torch.bool:
        return (torch.uint8,)
    if source in _TYPES:
        return (source,)
    raise HvcodError(f"tensor {name} has type {source}, which cannot be stored")


def file_type(stored: torch.dtype) -> h5t.TypeID:
    """The HDF5 type, little-endian on every machine, of a stored type."""
    return _TYPES[stored]


def dtype_called(name: str) -> torch.dtype | None:
    """The type of that name which a tensor can have had or be stored in; None if there is none."""
    types = (torch.bool, torch.bfloat16, *_TYPES)
    return next((dtype for dtype in types if str(dtype) == f"torch.{name}"), None)


def largest_file(expected: Mapping[str, TensorSpec]) -> int:
    """Bytes that no file with these tensors exceeds, be it rounded or not."""
    size = USER_BLOCK + _FILE_OVERHEAD
    for name, spec in expected.items():
        width = stored_dtypes(name, spec.dtype)[-1].itemsize
        size += spec.elements * width + len(name.encode()) + _TENSOR_OVERHEAD
    return size


def seal(data: memoryview, step: int) -> None:
    """Fills in the user block of `data`, whose HDF5 image is complete."""
    data[:USER_BLOCK] = _user_block(step, data[USER_BLOCK:])


def verify(data: memoryview) -> int:
    """Proves that `data` is a whole file as hvcod wrote it, byte for byte; returns its step.

    Raises DamagedError if it is not, RefusedError if another version of hvcod wrote it.
    """
    if len(data) < USER_BLOCK:
        raise DamagedError(f"cut short: {len(data)} bytes, less than its header")
    magic, version, step, size, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedError("does not begin as a file of hvcod does")
    if version != FORMAT_VERSION:
        raise RefusedError(f"has format version {version}; this hvcod reads {FORMAT_VERSION}")
    if size != len(data) - USER_BLOCK:
        raise DamagedError(f"holds {len(data) - USER_BLOCK} bytes after its header, not {size}")
    if _user_block(step, data[USER_BLOCK:]) != data[:USER_BLOCK]:
        raise DamagedError("its bytes do not match their SHA-256")
    return int(step)


def _user_block(step: int, image: memoryview) -> bytes:
    digest = hashlib.sha256(image).digest()
    header = _HEADER.pack(_MAGIC, FORMAT_VERSION, step, len(image), digest)
    return header.ljust(USER_BLOCK, b"\0")
