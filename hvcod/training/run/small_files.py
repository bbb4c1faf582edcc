"""Small files that several launches share: made by exactly one, replaced whole, read patiently."""

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

PATIENCE = 2.0
"""Seconds for which a network file system may fail to read a file that was just replaced."""

_PAUSE = 0.1

_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)

Found = TypeVar("Found")


def create(path: Path, content: bytes) -> bool:
    """Writes a file under a free name; False if the name is taken.

    Of several processes on any nodes exactly one succeeds. Readers may see the file empty for a
    moment, and for good if the process is killed then: see `create_whole`.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def create_whole(path: Path, content: bytes) -> bool:
    """As `create`, but the file is there whole and on disk, or not at all.

    This takes a hard link, which a distributed file system without a central server was seen to
    make under one name twice when two nodes asked at once (GlusterFS): readers decide what counts.
    A file system that has no links gets what `create` does.
    """
    with _written(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            # A server's answer that got lost on the way: the link was made, then asked for again.
            return temporary.stat().st_nlink == 2
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return create(path, content)
        return True


def replace(path: Path, content: bytes) -> None:
    """Gives a file another content; readers see the old or the new one. Raises OSError."""
    with _written(path, content) as temporary:
        temporary.replace(path)


def patiently(look: Callable[[], Found], *passing: type[Exception]) -> Found:
    """What `look` finds, tried for `PATIENCE` seconds while it raises one of `passing`.

    Raises:
        Exception: What `look` raised last.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(*passing):
            return look()
        time.sleep(_PAUSE)
    return look()


@contextlib.contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name.lstrip('.')}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
