"""Files that a user names: the inputs of a command, bytes, and errors in one line."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.tensorfile.meaning import digest

LEFT_ALONE = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot"),
        *("~snapshot", "~checkpoint", "lost+found", "lost.dir", "found.000", "$recycle.bin"),
        *("recycler", "system volume information", "__macosx", "network trash folder"),
        *("temporary items", "__pycache__"),
    )
)
"""Folders that file servers, operating systems and tools keep among the user's, in lower case."""


_MOST_LISTED = 10_000

Source = TypeVar("Source")


class Found(NamedTuple, Generic[Source]):
    """The inputs of a preparation.

    Attributes:
        sources: The inputs.
        left_alone: Files and folders among them that were not read; see `Listing`.
    """

    sources: list[Source]
    left_alone: list[str]


class Listing(NamedTuple):
    """The files that an INPUT stands for.

    Attributes:
        files: The files.
        left_alone: Hidden files and folders, and folders of file servers and tools, that lie among
            them and were not read.
        other: Files of a folder whose names are not wanted.
    """

    files: list[Path]
    left_alone: list[Path]
    other: list[Path]


def is_left_alone(folder: str) -> bool:
    """Tells whether a folder is hidden, or belongs to a file server or a tool.

    Examples are ``.ipynb_checkpoints``, ``.snapshot``, ``@eaDir`` and ``__MACOSX``. What lies in
    one, copies of the user's files above all, is no input unless the user names the folder.
    """
    return folder.startswith(".") or folder.lower() in LEFT_ALONE


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


def path_of(text: str) -> Path:
    """Returns the path that a user has typed; ``~`` stands for a home, if nothing has that name.

    Raises:
        UsageError: Nobody has such a home directory.
    """
    path = Path(text)
    with readable(path):
        if not text.startswith("~") or Path(path.parts[0]).exists():
            return path
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{text}: no home directory is known as {path.parts[0]}, and nothing here has that name"
        ) from error


def listed(text: str, wanted: Callable[[str], bool]) -> Listing:
    """Returns the files that an INPUT stands for, at least one, and what was left alone.

    A file stands for itself, a folder for the files below it whose names are wanted, and a glob
    (``**`` matches any folders) for the files that match it. Hidden files, and what lies in folders
    that `is_left_alone`, must be named.

    Raises:
        UsageError: It matches nothing, or cannot be read.
    """
    path = path_of(text)
    with readable(path):
        if path.is_dir():
            listing = _below(path, wanted)
        elif path.exists():
            return Listing([path], [], [])
        else:
            listing = _matching(path)
    if not listing.files:
        others = [*listing.left_alone, *listing.other]
        aside = f"; left alone: {others[0]}" if others else ""
        aside += ", which is read where its own name or a glob is given" if listing.other else ""
        raise UsageError(f"nothing matches {text}; give files, folders or globs{aside}")
    return listing


def _below(folder: Path, wanted: Callable[[str], bool]) -> Listing:
    listing = Listing([], [], [])
    for name in files_below(folder):
        own = name.rpartition("/")[2]
        if not own or (own.startswith(".") and wanted(own)):
            listing.left_alone.append(folder / name)
        elif wanted(own):
            listing.files.append(folder / name)
        elif not own.startswith("."):
            listing.other.append(folder / name)
    return listing


def _matching(pattern: Path) -> Listing:
    """Sorts the files that match a pattern by whether they are hidden and not named in it."""
    named = set(pattern.parts)
    files, left_alone = list[Path](), dict[Path, None]()
    for file in filter(Path.is_file, fitting(pattern)):
        above = [path for path in reversed(file.parents) if path.name not in named]
        aside = [path for path in above if is_left_alone(path.name)]
        if file.name.startswith(".") and file.name not in named:
            aside.append(file)
        if aside:
            left_alone[aside[0]] = None
        else:
            files.append(file)
    return Listing(files, list(left_alone), [])


def files_below(
    folder: Path, inner: str = "", follow: bool = False, above: tuple[Path, ...] = ()
) -> Iterator[str]:
    """Yields the paths of all files below a folder, sorted by name in each folder.

    A folder that `is_left_alone` is not entered: it is yielded itself, with a slash behind it. A
    link that leads nowhere counts as a file: reading it shows what is wrong. With `follow`,
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
        if is_folder and is_left_alone(name):
            yield f"{inner}{name}/"
        elif is_folder and (follow or not is_link):
            yield from files_below(folder, f"{inner}{name}/", follow, (*above, here))
        elif not is_folder and (is_file or is_link):
            yield f"{inner}{name}"


def listing_digest(path: Path | None) -> str:
    """Returns a digest of the names and sizes of the files below a folder, or of a file's size.

    Hidden files do not count. It is empty without a path, for what cannot be read, and for a folder
    of so many files that listing them takes long.
    """
    if path is None:
        return ""
    sizes = {}
    try:
        names = files_below(path) if path.is_dir() else iter([""])
        for name in itertools.islice(names, _MOST_LISTED + 1):
            if not name.rpartition("/")[2].startswith(".") and not name.endswith("/"):
                sizes[name] = (path / name).stat().st_size
    except (OSError, UsageError):
        return ""
    return digest(sizes) if 0 < len(sizes) <= _MOST_LISTED else ""


def file_size(path: Path) -> int | None:
    """Returns the bytes of a file, None for a folder.

    Raises:
        UsageError: It cannot be read.
    """
    with readable(path):
        return None if path.is_dir() else path.stat().st_size
