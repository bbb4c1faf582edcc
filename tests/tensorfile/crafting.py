"""Files that hvcod never writes, with the right digest."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from hvcod.tensorfile.header import block_size, seal, verify

DIGEST = slice(12, 44)
"""The bytes of a file that hold its SHA-256."""


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
    changed = bytearray(block) + image_of(data)
    seal(memoryview(changed), block, text)
    return bytes(changed)


def reindexed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A good file whose index is changed in place, sealed again."""
    index = index_of(data)
    change(index)
    return with_index(data, json.dumps(index, ensure_ascii=False).encode())


def resealed(data: bytes) -> bytes:
    """The bytes with the SHA-256 that they should have."""
    digest = hashlib.sha256(data[DIGEST.stop :]).digest()
    return data[: DIGEST.start] + digest + data[DIGEST.stop :]
