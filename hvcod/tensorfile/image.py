"""A file before it is written: structures of libhdf5 around values that stay where they are."""

import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO, NamedTuple

import torch

from hvcod.files.whole import PIECE
from hvcod.tensorfile.header import DIGEST, user_block
from hvcod.tensorfile.lane import Lane

FLUSHED = 4 * PIECE
"""Bytes after which the system is asked to put on disk what was written so far."""


class Place(NamedTuple):
    """The values of a tensor, and the byte of the file at which they begin."""

    offset: int
    values: torch.Tensor


class Image:
    """The content of a file. It is never in memory as a whole.

    Its SHA-256, and the way of its first parts to the disk, take their time while later ones are
    handed to the system.
    """

    def __init__(
        self, memory: mmap.mmap, size: int, block: int, index: bytes, places: Sequence[Place]
    ) -> None:
        """
        Args:
            memory: Everything of the file but the user block and the values.
            size: Bytes of the file.
            block: Bytes of the user block.
            index: Goes into the user block.
            places: The values, in the order of their offsets.
        """
        self._memory, self._size, self._block, self._places = memory, size, block, places
        self._head = user_block(block, index, size)

    def __len__(self) -> int:
        return self._size

    def write_to(self, file: BinaryIO) -> None:
        """Writes all of it to an empty file; raises OSError."""
        descriptor, digest, skipped, written = file.fileno(), hashlib.sha256(), DIGEST.stop, 0
        with Lane() as hashing, Lane() as flushing:
            for piece in self._pieces():
                hashing.call(partial(digest.update, piece[skipped:]))
                file.write(piece)
                skipped, before, written = 0, written, written + len(piece)
                if before // FLUSHED != written // FLUSHED:
                    flushing.call(partial(os.fdatasync, descriptor))
        file.flush()
        os.pwrite(descriptor, digest.digest(), DIGEST.start)

    def _pieces(self) -> Iterator[memoryview]:
        yield memoryview(self._head)
        rest, done = memoryview(self._memory), self._block
        for offset, values in self._places:
            yield rest[done:offset]
            flat = values.reshape(-1).view(torch.uint8).numpy().data
            for start in range(0, len(flat), PIECE):
                yield flat[start : start + PIECE]
            done = offset + len(flat)
        yield rest[done : self._size]
