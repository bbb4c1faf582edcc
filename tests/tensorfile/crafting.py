"""Files that hvcod never writes, with the right digest."""

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import torch

from hvcod.tensorfile import encode as encoding
from hvcod.tensorfile.header import DIGEST, block_size, user_block, verify
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import Rounded, Tensors, rounded


def encode(
    tensors: Tensors,
    origin: Origin,
    *,
    storage: Callable[[str, torch.Tensor], Rounded] = rounded,
) -> memoryview:
    """The bytes of the file that hvcod writes."""
    image = encoding.encode(tensors, origin, storage=storage)
    with os.fdopen(os.memfd_create("image"), "w+b") as file:
        image.write_to(file)
        file.seek(0)
        return memoryview(bytearray(file.read()))


def index_of(data: bytes) -> dict[str, Any]:
    """The index of a good file."""
    index: dict[str, Any] = json.loads(verify(memoryview(data))[0])
    return index


def image_of(data: bytes) -> bytes:
    """The HDF5 image of a good file."""
    return data[verify(memoryview(data))[1] :]


def with_index(data: bytes, text: bytes) -> bytes:
    """A good file with another index, sealed again."""
    block = block_size(len(text))
    image = image_of(data)
    return resealed(bytes(user_block(block, text, block + len(image)) + image))


def reindexed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A good file whose index is changed in place, sealed again."""
    index = index_of(data)
    change(index)
    return with_index(data, json.dumps(index, ensure_ascii=False).encode())


def resealed(data: bytes) -> bytes:
    """The bytes with the SHA-256 that they should have."""
    digest = hashlib.sha256(data[DIGEST.stop :]).digest()
    return data[: DIGEST.start] + digest + data[DIGEST.stop :]
