"""Files that appear under their name whole and on disk, or not at all."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hvcod.files.temporaries import temporary_path

# Linux transfers at most 2 GiB at once, some network file systems fail far below that.
PIECE = 16 * 2**20
"""Bytes to read or write at once, at most."""


def write_whole(path: Path, data: bytes | memoryview, *, replace: bool = True) -> None:
    """Writes a file as `whole_file` does: readers see the old content or the new one."""
    with whole_file(path, replace=replace) as file:
        view, done = memoryview(data), 0
        while done < len(view):
            done += os.write(file.fileno(), view[done : done + PIECE])


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Yields a new file to write to, which appears as `path` when the block ends without an error.

    The content reaches the disk before the name appears, and the name before this returns, except
    on file systems that cannot sync a directory. `file.name` is the temporary path, for those who
    must open it themselves. Without `replace` it is for names that only one process makes;
    `hvcod.files.shared.create_whole` is for several.

    Raises:
        FileExistsError: The name is taken, and `replace` is false.
        OSError: The file cannot be written; what was there stays, nothing else is left behind.
    """
    temporary = temporary_path(path)
    try:
        with open(temporary, "xb", opener=_open) as file:
            yield file
            sync(file)
        if not replace and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync(file: BinaryIO) -> None:
    """Puts what was written to a file on disk; raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Puts the names in a directory on disk, where the file system can do that."""
    # Some network file systems cannot; the name is visible already.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open(path: str, flags: int) -> int:
    # By a call of `os`, like all operations on files here: tests count these, and kill at them.
    return os.open(path, flags, 0o666)
