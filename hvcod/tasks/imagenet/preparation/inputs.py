"""The inputs of the preparation and how they are cut into units, which the ranks share."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.tasks.imagenet.preparation.archive import (
    MAX_IMAGE_BYTES,
    Member,
    all_members,
    cuts,
    is_compressed,
    range_members,
)
from hvcod.tasks.imagenet.preparation.paths import (
    ARCHIVE_SUFFIX,
    archive_folder,
    input_folder,
    is_image_name,
    one_line,
)
from hvcod.tasks.reading.files import readable

UNIT_FILES = 8192
"""Files of a folder that make a unit: their sizes are not asked for, which is slow on Lustre."""


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        location: A folder or a tar file.
        name: What it is called in reports and, beside other inputs, in front of its images' names.
    """

    location: Path
    name: str

    @property
    def folder(self) -> str:
        """The folder that it stands for when paths are read."""
        own = self.location.resolve().name
        return own if self.location.is_dir() else input_folder(own)


@dataclass(frozen=True)
class Unit:
    """A piece of an input that one rank packs: files, a range of a tar file, or all of one.

    Attributes:
        files: Paths below a folder, or none.
        span: Begin and end of the range, or none.
    """

    files: tuple[str, ...] | None = None
    span: tuple[int, int] | None = None


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """The inputs in the order in which they are given, each once.

    Raises:
        UsageError: An input is missing, cannot be read, or is neither folder nor tar file.
    """
    paths = [Path(given).expanduser() for given in inputs]
    for path in paths:
        with readable(path):
            there, folder = path.exists(), path.is_dir()
        if not there:
            raise UsageError(f"{path}: there is no such file or folder")
        if not folder and not ARCHIVE_SUFFIX.search(path.name):
            raise UsageError(
                f"{path} is neither a folder nor a tar file (.tar, .tar.gz, .tar.xz, .tar.zst)"
            )
    unique = list({path.resolve(): path for path in reversed(paths)}.values())[::-1]
    names = [one_line(name) for name in _names(unique)]
    return [Source(path, name) for path, name in zip(unique, names, strict=True)]


def units(source: Source, unit_bytes: int) -> list[Unit]:
    """Cuts an input; the result does not depend on who asks.

    Raises:
        HvcodError: The input is damaged or cannot be read.
    """
    path = source.location
    if not path.is_dir():
        if is_compressed(path):
            return [Unit()]
        edges = cuts(path, unit_bytes)
        return [Unit(span=span) for span in itertools.pairwise(edges)]
    found: list[Unit] = []
    files: list[str] = []
    for name in _files_below(path):
        archive = ARCHIVE_SUFFIX.search(name) is not None
        if files and (archive or len(files) == UNIT_FILES):
            found.append(Unit(files=tuple(files)))
            files = []
        if archive:
            found.append(Unit(files=(name,)))
        else:
            files.append(name)
    return [*found, Unit(files=tuple(files))] if files else found


def members(source: Source, unit: Unit) -> Iterator[Member]:
    """The files of a unit, in order.

    Raises:
        HvcodError: The input is damaged or cannot be read.
    """
    if unit.span is not None:
        return range_members(source.location, *unit.span)
    if unit.files is None:
        return all_members(source.location)
    return _folder_members(source.location, unit.files)


def _folder_members(folder: Path, files: Sequence[str]) -> Iterator[Member]:
    for name in files:
        path = tuple(name.split("/"))
        if ARCHIVE_SUFFIX.search(name):
            for inner in all_members(folder / name):
                above = (*path[:-1], archive_folder(path[-1]))
                yield Member((*above, *inner.path), inner.content, inner.size)
            continue
        try:
            yield _file(folder / name, path)
        except OSError as error:
            raise HvcodError(f"{folder / name}: cannot be read: {reason_of(error)}") from error


def _file(path: Path, parts: tuple[str, ...]) -> Member:
    if not is_image_name(parts[-1]):
        return Member(parts, None, 0)
    size = path.stat().st_size
    return Member(parts, path.read_bytes() if size <= MAX_IMAGE_BYTES else None, size)


def _files_below(folder: Path, inner: str = "", above: tuple[Path, ...] = ()) -> Iterator[str]:
    """The files of a folder and those below it, by name; links to a folder above are left out."""
    here = (folder / inner).resolve()
    if here in above:
        return
    try:
        with os.scandir(folder / inner) as entries:
            found = sorted(
                # A link that leads nowhere may have been an image: reading it will tell.
                (entry.name, entry.is_dir(), entry.is_file() or entry.is_symlink())
                for entry in entries
            )
    except OSError as error:
        raise HvcodError(f"{folder / inner}: cannot be read: {reason_of(error)}") from error
    for name, is_folder, is_file in found:
        if is_folder:
            yield from _files_below(folder, f"{inner}{name}/", (*above, here))
        elif is_file:
            yield f"{inner}{name}"


def _names(paths: Sequence[Path]) -> list[str]:
    """The ends of the paths that tell them apart."""
    for depth in range(1, max(len(path.resolve().parts) for path in paths) + 1):
        names = ["/".join(path.resolve().parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UsageError("two inputs are the same")
