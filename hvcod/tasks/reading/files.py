"""Files that a user names: the inputs of a command, bytes, and errors in one line."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hvcod.errors import HvcodError, UsageError, reason_of


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns errors of the file system inside, where a path is looked at, into one line.

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


def listed(text: str, wanted: Callable[[str], bool]) -> list[Path]:
    """Returns the files that an INPUT stands for, at least one.

    A file stands for itself, a folder for the files below it whose names are wanted, and a glob
    (``**`` matches any folders) for the files that match it. Hidden files must be named.

    Raises:
        UsageError: It matches nothing, or cannot be read.
    """
    path = Path(text).expanduser()
    with readable(path):
        if path.is_dir():
            every = [path / name for name in files_below(path) if wanted(name.rpartition("/")[2])]
        elif path.exists():
            return [path]
        else:
            every = [file for file in fitting(path) if file.is_file()]
    files = [file for file in every if not file.name.startswith(".")]
    if not files:
        raise UsageError(f"nothing matches {text}; give files, folders or globs")
    return files


def files_below(
    folder: Path, inner: str = "", follow: bool = False, above: tuple[Path, ...] = ()
) -> Iterator[str]:
    """Yields the paths of all files below a folder, sorted by name in each folder.

    A link that leads nowhere counts as a file: reading it shows what is wrong. With `follow`,
    folders that are links count, too, except those to a folder above. `inner`, with a slash behind
    it, and `above` are those of the walk.

    Raises:
        UsageError: A folder cannot be read.
    """
    here = (folder / inner).resolve()
    if here in above:
        return
    with readable(folder / inner), os.scandir(folder / inner) as entries:
        inside = sorted(
            (entry.name, entry.is_dir(), entry.is_symlink(), entry.is_file()) for entry in entries
        )
    for name, is_folder, is_link, is_file in inside:
        if is_folder and (follow or not is_link):
            yield from files_below(folder, f"{inner}{name}/", follow, (*above, here))
        elif not is_folder and (is_file or is_link):
            yield f"{inner}{name}"


def file_size(path: Path) -> int | None:
    """Returns the bytes of a file, None for a folder.

    Raises:
        UsageError: It cannot be read.
    """
    with readable(path):
        return None if path.is_dir() else path.stat().st_size
