"""From a file to tensors, trusting nothing in it."""

import hashlib
import io
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hvcod.errors import HvcodError
from hvcod.files.regular import open_regular
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.header import DIGEST, claimed_index, verify
from hvcod.tensorfile.index import Entry, parse
from hvcod.tensorfile.lane import Lane
from hvcod.tensorfile.origin import Origin

_PIECE = 4 * 2**20


class Content(NamedTuple):
    """The bytes of a file, and the SHA-256 of those behind the place of its digest."""

    data: NDArray[np.uint8]
    digest: bytes


def read_file(path: Path, limit: int) -> Content:
    """Reads a regular file of up to `limit` bytes; a larger one is not given any memory.

    Raises:
        OSError: It cannot be read.
        HvcodError: It is not a regular file; the message does not name the path.
        RefusedError: It is too large; the message does not name the path.
    """
    with open_regular(path) as file:
        return read_whole(file, limit)


def read_whole(file: io.FileIO, limit: int) -> Content:
    """Reads an open file from its beginning, as `read_file` does.

    The digest of what is here is computed while the rest is read.
    """
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise RefusedError(f"has {size} bytes, more than the {limit} that it can need")
    data, digest = np.empty(size, np.uint8), hashlib.sha256()
    file.seek(0)
    done = 0
    with Lane() as hashing:
        while count := file.readinto(data.data[done : done + _PIECE]):
            piece = data.data[max(done, DIGEST.stop) : done + count]
            hashing.call(partial(digest.update, piece))
            done += count
    return Content(data[:done], digest.digest())


def claims_of(file: io.FileIO) -> tuple[Origin, dict[str, TensorSpec]] | None:
    """Returns the origin that a file claims, and its tensors as they were before, unverified.

    None if it does not say so. Reads the index alone. Raises OSError if it cannot be read.
    """
    try:
        origin, entries = parse(*claimed_index(file))
    except HvcodError:
        return None
    return origin, {entry.name: TensorSpec(entry.shape, entry.source) for entry in entries}


def decode_tensors(
    content: bytes | bytearray | memoryview | NDArray[np.uint8] | Content,
) -> tuple[Origin, dict[str, torch.Tensor]]:
    """Returns the origin and all tensors of a file that `encode` made, from its bytes.

    First their digest is verified; then the index is checked, and the values are taken from where
    it says. Which names there must be is for the caller to check.

    The tensors come in the file's order and in the type they had at the source, except those that
    were rounded to float16. They are views of the bytes (of a copy, if it is read-only), so that no
    file can ask for memory; only former bfloat16 and bool tensors are copies, never larger.

    Raises:
        DamagedError: The bytes are not as hvcod wrote them.
        RefusedError: They hold what this hvcod does not write.
    """
    data, digest = content if isinstance(content, Content) else (content, None)
    memory = np.frombuffer(data, np.uint8)
    if not memory.flags.writeable:
        memory = memory.copy()
    text, block = verify(memory.data, digest)
    image = torch.from_numpy(memory)[block:]
    origin, entries = parse(text, len(image))
    return origin, {entry.name: _tensor(image, entry) for entry in entries}


def _tensor(image: torch.Tensor, entry: Entry) -> torch.Tensor:
    start = entry.offset if entry.size else 0
    try:
        stored = image[start : start + entry.size].view(entry.stored).view(entry.shape)
    except (RuntimeError, TypeError) as error:
        raise RefusedError(f"tensor {entry.name} has an absurd shape: {entry.shape}") from error
    return _restored(stored, entry.source)


def _restored(tensor: torch.Tensor, source: torch.dtype) -> torch.Tensor:
    if source is torch.bool:
        return tensor.bool()
    if source is torch.bfloat16 and tensor.dtype is torch.float32:
        # The upper halves are the value, to the last bit of a NaN.
        halves = tensor.reshape(-1).view(source)[1::2]
        return halves.clone(memory_format=torch.contiguous_format).view(tensor.shape)
    return tensor
