"""Reads the bytes of a file."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvcod.files.regular import open_regular
from hvcod.files.whole import PIECE
from hvcod.tensorfile.errors import RefusedError


def read_file(path: Path, limit: int) -> NDArray[np.uint8]:
    """The bytes of a regular file, in memory that is asked for only if they are `limit` at most.

    Raises OSError if it cannot be read, HvcodError if it is not a regular file, RefusedError if
    it is too large. The HvcodErrors' messages do not name the path.
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
