"""Reads the bytes of a file."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvcod.files.regular import open_regular
from hvcod.files.whole import PIECE
from hvcod.tensorfile.errors import RefusedError


def read_file(path: Path, limit: int) -> NDArray[np.uint8]:
    """Reads a regular file of up to `limit` bytes; a larger one is not given any memory.

    Raises:
        OSError: It cannot be read.
        HvcodError: It is not a regular file; the message does not name the path.
        RefusedError: It is too large; the message does not name the path.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise RefusedError(f"has {size} bytes, more than the {limit} that it can need")
        data = np.empty(size, np.uint8)
        done = 0
        while count := file.readinto(data.data[done : done + PIECE]):
            done += count
    return data[:done]
