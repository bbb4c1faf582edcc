"""Files that a user names: matching a pattern, reading bytes, and errors in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hvcod.errors import HvcodError, UsageError, reason_of


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns errors of the file system inside into one line.

    Args:
        path: The path that is looked at.

    Raises:
        UsageError: It cannot be read: for example, a folder above it is closed to this user.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {reason_of(error)}") from error


def fitting(pattern: Path) -> list[Path]:
    """Returns the files and folders that match a pattern; ``**`` stands for any folders."""
    try:
        return list(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except (ValueError, NotImplementedError):  # not a valid pattern, so nothing matches
        return []


def chunks(path: Path, size: int) -> Iterator[bytes]:
    """Yields the bytes of a file, at most ``size`` at once.

    Raises:
        HvcodError: It cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(size):
                yield chunk
    except OSError as error:
        raise HvcodError(f"{path}: cannot be read: {reason_of(error)}") from error
