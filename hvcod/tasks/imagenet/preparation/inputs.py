"""The inputs of images, cut into units that the ranks share."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import HvcodError, UsageError
from hvcod.files.regular import open_regular
from hvcod.tasks.imagenet.preparation import archive, paths
from hvcod.tasks.imagenet.preparation.archive import Member
from hvcod.tasks.reading.files import file_size, files_below, path_of, readable
from hvcod.terminal import one_line

UNIT_FILES = 8192
"""Files of a folder that make a unit: their sizes are not asked for, which is slow on Lustre."""


@dataclass(frozen=True)
class Source:
    """One input, a folder or a tar file.

    If there are other inputs, its name is put before those of its images.
    """

    location: Path
    name: str

    @property
    def size(self) -> int | None:
        """Bytes of a tar file, by which a changed input is noticed; None for a folder."""
        return file_size(self.location)


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
    """Returns the inputs in the given order, each once.

    Raises:
        UsageError: An input is missing, cannot be read, or is neither folder nor tar file.
    """
    locations = [path_of(text) for text in inputs]
    for path in locations:
        with readable(path):
            there, folder, file = path.exists(), path.is_dir(), path.is_file()
        if not there:
            raise UsageError(f"{path}: there is no such file or folder")
        if not folder and not paths.is_archive(path.name):
            raise UsageError(
                f"{path} is neither a folder nor a tar file (.tar, .tar.gz, .tar.xz, .tar.zst)"
            )
        if not folder and not file:
            raise UsageError(f"{path} is not a regular file")
    unique = list({path.resolve(): path for path in reversed(locations)}.values())[::-1]
    names = [one_line(name) for name in _names(unique)]
    return [Source(path, name) for path, name in zip(unique, names, strict=True)]


def units(source: Source, unit_bytes: int) -> list[Unit]:
    """Cuts an input into units; the result is the same on every rank.

    Raises:
        HvcodError: The input is damaged or cannot be read.
    """
    path = source.location
    if not path.is_dir():
        if archive.is_compressed(path):
            return [Unit()]
        edges = archive.cuts(path, unit_bytes)
        return [Unit(span=span) for span in itertools.pairwise(edges)]
    cut: list[Unit] = []
    for archives, names in itertools.groupby(
        files_below(path, follow=True), paths.is_inner_archive
    ):
        while files := tuple(itertools.islice(names, 1 if archives else UNIT_FILES)):
            cut.append(Unit(files=files))
    return cut


def members(source: Source, unit: Unit) -> Iterator[Member]:
    """Yields the files of a unit, in order.

    Raises:
        HvcodError: The input is damaged or cannot be read.
    """
    if unit.span is not None:
        return archive.range_members(source.location, *unit.span)
    if unit.files is None:
        return archive.all_members(source.location)
    return _folder_members(source.location, unit.files)


def _folder_members(folder: Path, files: Sequence[str]) -> Iterator[Member]:
    for name in files:
        path = tuple(name.split("/"))
        if paths.is_inner_archive(name):
            for inner in archive.all_members(folder / name):
                above = (*path[:-1], paths.archive_folder(path[-1]))
                yield Member((*above, *inner.path), inner.content, inner.size)
            continue
        with readable(folder / name):
            member = _file(folder / name, path)
        yield member


def _file(path: Path, parts: tuple[str, ...]) -> Member:
    if not paths.is_image_name(parts[-1]) or paths.left_alone(parts):
        return Member(parts, None, 0)
    try:
        with open_regular(path, follow=True) as file:
            size = os.fstat(file.fileno()).st_size
            return Member(parts, file.read() if size <= archive.MAX_IMAGE_BYTES else None, size)
    except HvcodError as error:
        raise HvcodError(f"{path}: {error}") from error


def _names(locations: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of the locations, cut at folders, that differ."""
    parts = [path.resolve().parts for path in locations]
    depth = 1
    while len({end[-depth:] for end in parts}) < len(locations):
        depth += 1
    return ["/".join(end[-depth:]) for end in parts]
