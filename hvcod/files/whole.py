"""Files that appear under their name whole and on disk, or not at all."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hvcod.errors import HvcodError, reason_of
from hvcod.files.folder import checked, hold, make_folder, opened
from hvcod.files.temporaries import temporary_name

# Linux transfers at most 2 GiB at once, some network file systems fail far below that.
PIECE = 16 * 2**20
"""Bytes to read or write at once, at most."""


def write_whole(path: Path, data: bytes | memoryview, *, replace: bool = True) -> None:
    """Writes a file as `whole_file` does: readers see the old content or the new one."""
    with whole_file(path, replace=replace) as file:
        write_all(file.fileno(), data)


def write_below(folder: Path, name: str, data: bytes) -> Path:
    """Writes a file below a folder that hvcod keeps, such as ``jobs/train.sh``; returns its path.

    The folders on the way are made; none of them may be a symbolic link. Raises OSError.
    """
    path = folder / name
    with hold(folder):
        make_folder(path.parent)
        write_whole(path, data)
    return path


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Writes all of some bytes to an open file; raises OSError."""
    view, done = memoryview(data), 0
    while done < len(view):
        done += os.write(descriptor, view[done : done + PIECE])


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Yields a new file to write to, which appears as `path` when the block ends without an error.

    The content reaches the disk before the name appears, and the name before this returns, except
    on file systems that cannot sync a directory. A symbolic link in the way is replaced, not
    followed. Without `replace` it is for names that only one process makes;
    `hvcod.files.shared.create_whole` is for several.

    Raises:
        FileExistsError: The name is taken, and `replace` is false.
        OSError: The file cannot be written; what was there stays, nothing else is left behind.
    """
    with opened(path.parent) as folder:
        temporary = temporary_name(path.name)
        try:
            with os.fdopen(folder.open_new(temporary), "wb") as file:
                yield file
                sync(file)
            # A process that was stopped meanwhile may have lost the folder.
            checked(path)
            if not replace and folder.exists(path.name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            folder.rename(temporary, path.name)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.unlink(temporary)
            raise
        folder.sync()


def new_file(path: Path) -> BinaryIO:
    """Opens a file under a free name, for writing; raises OSError, also if the name is taken."""
    with opened(path.parent) as folder:
        return os.fdopen(folder.open_new(path.name), "wb")


def output_problem(path: Path) -> str:
    """Returns why no file that a user asked for can be written to a path; empty if one can.

    What is there must be a regular file, which is replaced: a symbolic link may have been put there
    to have another file overwritten.
    """
    if path.is_symlink():
        return f"{path} is a symbolic link: name the file that it points to, or remove it"
    return f"{path} is not a regular file" if path.exists() and not path.is_file() else ""


def write_output(path: Path, content: bytes | str) -> None:
    """Writes a file that a user asked for, whole; text in UTF-8.

    Raises:
        HvcodError: `output_problem` says why it cannot be, or the file system refuses; what was
            there stays.
    """
    if problem := output_problem(path):
        raise HvcodError(f"cannot write: {problem}")
    if isinstance(content, str):
        # Names of files, which it may contain, need not be UTF-8.
        content = content.encode("utf-8", "backslashreplace")
    try:
        write_whole(path, content)
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error


def sync(file: BinaryIO) -> None:
    """Puts what was written to a file on disk; raises OSError."""
    file.flush()
    os.fsync(file.fileno())
