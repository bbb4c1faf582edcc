"""Whole lines of a part of a file, so that several ranks can read one file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.preparation.row_formats import LONGEST_LINE

BLOCK_BYTES = 2 * 2**20
"""Text that is parsed at once: the arrays made from it stay in a core's cache."""


def line_blocks(path: Path, start: int, stop: int, begin: int = 0) -> Iterator[bytes]:
    """Yields the lines that begin from ``start`` to before ``stop``, several at a time.

    The file's first line begins at ``begin``. A block ends with a line feed, even where the file
    does not. A line longer than `LONGEST_LINE` is cut one byte behind that length.

    Raises:
        HvcodError: The file cannot be read.
    """
    with _opened(path) as file:
        position = max(begin, _line_after(file, start))
        end = _line_after(file, stop)
        rest = b""
        while position < end:
            read = os.pread(file, min(BLOCK_BYTES, end - position), position)
            if not read:
                raise HvcodError(f"{path} has become shorter while it was read: begin again")
            position += len(read)
            lines = read.rfind(b"\n") + 1
            if lines:
                yield rest + read[:lines]
                rest = b""
            rest = (rest + read[lines:])[: LONGEST_LINE + 1]
        if rest:
            yield rest + b"\n"


def count_lines(path: Path, stop: int, begin: int) -> int:
    """Counts the lines that begin from ``begin`` to before ``stop``."""
    return sum(block.count(b"\n") for block in line_blocks(path, 0, stop, begin))


def _line_after(file: int, position: int) -> int:
    """Returns the first position from this one on at which a line begins, or the file's end."""
    if position == 0:
        return 0
    position -= 1
    while block := os.pread(file, BLOCK_BYTES, position):
        line_feed = block.find(b"\n")
        if line_feed >= 0:
            return position + line_feed + 1
        position += len(block)
    return position


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = -1
    try:
        file = os.open(path, os.O_RDONLY)
        yield file
    except OSError as error:
        raise HvcodError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        if file >= 0:
            os.close(file)
