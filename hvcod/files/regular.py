"""Files that may have been put there by somebody else."""

import errno
import io
import os
import stat
from pathlib import Path

from hvcod.errors import HvcodError


def open_regular(path: Path) -> io.FileIO:
    """A regular file, open for unbuffered reading.

    Raises:
        HvcodError: It is anything else: a symbolic link, a pipe (which could block), a directory.
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise HvcodError("is a symbolic link, not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HvcodError("is not a regular file")
    return io.FileIO(descriptor)
