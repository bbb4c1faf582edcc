"""The user block in front of the HDF5 image: it verifies the file and says where everything lies.

    12 bytes    magic word, format version
    32 bytes    SHA-256 of all that follows
    20 bytes    sizes of the user block, of the index and of the file
    the rest    the index (`hvcod.tensorfile.index`), then zeroes

HDF5 looks for its signature at byte 0, 512, 1024, 2048, ..., so every HDF5 tool opens the file,
while hvcod itself reads it without HDF5: it verifies the digest, checks the index and takes the
values from where the index says.
"""

import hashlib
import io
import struct
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.tensorfile.errors import DamagedError, RefusedError

FORMAT_VERSION = 2

SMALLEST_BLOCK, LARGEST_BLOCK = 512, 16 * 2**20
"""Bytes of the user block, which is a power of two."""

# Like PNG's: the high bit and the line end show a transfer that changed text.
_MAGIC = b"\x89HVCOD\r\n"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEADER = struct.Struct("<8sI32sIQQ")

DIGEST = slice(12, 44)
"""The bytes of a file that hold the SHA-256 of all that follows."""

_FORMAT_1 = (
    "was written by hvcod 0.1.0 in format 1, which this hvcod does not read: finish the run with "
    "hvcod 0.1.0, or start it anew (--fresh --force, or another --run-dir)"
)


def block_size(index: int) -> int:
    """Bytes of the user block for an index of this size; raises HvcodError if it is too large."""
    size = max(SMALLEST_BLOCK, 1 << (_HEADER.size + index - 1).bit_length())
    if size > LARGEST_BLOCK:
        raise HvcodError(f"too many tensors: their index has {index} bytes, over {LARGEST_BLOCK}")
    return size


def user_block(block: int, index: bytes, size: int) -> bytearray:
    """Returns the user block of a file, of zeroes where the digest belongs.

    `block` and `size` are the bytes of the user block and of the file.
    """
    data = bytearray(block)
    _HEADER.pack_into(data, 0, _MAGIC, FORMAT_VERSION, bytes(32), block, len(index), size)
    data[_HEADER.size : _HEADER.size + len(index)] = index
    return data


def verify(data: memoryview, found: bytes | None = None) -> tuple[bytes, int]:
    """Proves that a file is as hvcod wrote it; returns its index and the size of its user block.

    `found` is the SHA-256 of what follows the digest in the data, if it is known already.

    Raises:
        DamagedError: It was changed or cut short, or is something else.
        RefusedError: Another version of hvcod wrote it.
    """
    if len(data) < SMALLEST_BLOCK:
        raise DamagedError(f"cut short: {len(data)} bytes, less than its header")
    magic, version, digest, block, index, size = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedError("does not begin like a file of hvcod")
    if version == 1:
        raise RefusedError(_FORMAT_1)
    if version != FORMAT_VERSION:
        raise RefusedError(f"has format {version}; this hvcod reads {FORMAT_VERSION}: update it")
    if size != len(data):
        raise DamagedError(f"has {len(data)} bytes, not {size}")
    if (found or hashlib.sha256(data[DIGEST.stop :]).digest()) != digest:
        raise DamagedError("its bytes do not match their SHA-256")
    fits = _HEADER.size + index <= block <= LARGEST_BLOCK
    if not fits or block < SMALLEST_BLOCK or block.bit_count() != 1:
        raise RefusedError(f"has a user block of {block} bytes with an index of {index}")
    if data[block : block + len(_HDF5)] != _HDF5:
        raise RefusedError(f"has no HDF5 image after its user block of {block} bytes")
    return bytes(data[_HEADER.size : _HEADER.size + index]), block


def claimed_index(file: io.FileIO) -> tuple[bytes, int]:
    """Returns the index of a file and the size of its image, both as the file claims, unverified.

    Raises:
        DamagedError: It does not begin like a file of this format.
        OSError: It cannot be read.
    """
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise DamagedError(f"cut short: {len(head)} bytes, less than its header")
    magic, version, _, block, index, size = _HEADER.unpack(head)
    if (magic, version) != (_MAGIC, FORMAT_VERSION) or not index <= block <= LARGEST_BLOCK:
        raise DamagedError("does not begin like a file of hvcod")
    return file.read(index), size - block


def is_tensor_file(path: Path) -> bool:
    """Returns whether a file begins like one of hvcod's tensor files. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
