"""Files that may have been put there by somebody else."""

import errno
import io
import os
import stat
from pathlib import Path

from hvcod.errors import HvcodError

LARGEST_TEXT = 16 * 2**20
"""Bytes of the largest file that is read as a whole, if no other limit is given."""


def open_regular(path: Path, *, follow: bool = False) -> io.FileIO:
    """A regular file, open for unbuffered reading; opening it never blocks.

    Args:
        follow: Whether it may be a symbolic link to a regular file: one that the user has named or
            made, not one that hvcod keeps.

    Raises:
        HvcodError: It is anything else: a pipe (which could block), a directory, a symbolic link.
            The message does not name the path.
        OSError: It cannot be opened.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise HvcodError("is a symbolic link, not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HvcodError("is not a regular file")
    return io.FileIO(descriptor)


def read_regular(path: Path, limit: int = LARGEST_TEXT, *, follow: bool = False) -> bytes:
    """Returns the content of a regular file of up to `limit` bytes.

    Raises:
        HvcodError: It is not a regular file, or larger; the message does not name the path.
        OSError: It cannot be read.
    """
    with open_regular(path, follow=follow) as file:
        content = bytearray()
        while piece := file.read(min(2**20, limit + 1 - len(content))):
            content += piece
    if len(content) > limit:
        raise HvcodError(f"has more than {limit} bytes")
    return bytes(content)
