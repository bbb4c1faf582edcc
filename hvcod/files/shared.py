"""Small files that several processes share: made by exactly one of them, read patiently."""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hvcod.files.folder import Folder, opened
from hvcod.files.temporaries import temporary_name
from hvcod.files.whole import sync, write_all

PATIENCE = 2.0
"""Seconds for which a network file system may fail to read a file that was just replaced."""

_PAUSE = 0.1

_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)

Result = TypeVar("Result")


def create(path: Path, content: bytes) -> bool:
    """Writes a file under a free name; returns False if the name is taken.

    Of several processes on any nodes exactly one succeeds. Readers may see the file empty for a
    moment, and for good if the process is killed then: see `create_whole`. Raises OSError if it
    cannot be written; nothing is left behind.
    """
    with opened(path.parent) as folder:
        return _create(folder, path.name, content)


def create_whole(path: Path, content: bytes) -> bool:
    """As `create`, but the file appears whole and on disk, or not at all.

    This takes a hard link, which a distributed file system without a central server was seen to
    make under one name twice when two nodes asked at once (GlusterFS): readers decide what counts.
    On a file system without hard links this does the same as `create`.
    """
    with opened(path.parent) as folder:
        temporary = temporary_name(path.name)
        try:
            with os.fdopen(folder.open_new(temporary), "wb") as file:
                file.write(content)
                sync(file)
            folder.link(temporary, path.name)
        except FileExistsError:
            # The server's answer may have been lost and the request repeated: the link was made.
            return folder.stat(temporary).st_nlink == 2
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _create(folder, path.name, content)
        finally:
            with contextlib.suppress(OSError):
                folder.unlink(temporary)
        folder.sync()
    return True


def append(path: Path, record: bytes) -> None:
    """Appends a record to a file to which several processes may append; raises OSError."""
    with opened(path.parent) as folder, os.fdopen(folder.open_own(path.name), "ab") as file:
        file.write(record)


def patiently(look: Callable[[], Result], *passing: type[Exception]) -> Result:
    """Calls `look` until it returns, for `PATIENCE` seconds while it raises one of `passing`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(*passing):
            return look()
        time.sleep(_PAUSE)
    return look()


def _create(folder: Folder, name: str, content: bytes) -> bool:
    try:
        descriptor = folder.open_new(name)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            write_all(file.fileno(), content)
    except BaseException:
        folder.unlink(name)
        raise
    return True
