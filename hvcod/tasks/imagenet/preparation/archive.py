"""Tar files, plain or compressed, read as streams; nothing is ever extracted to disk."""

import contextlib
import io
import itertools
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.tasks.imagenet.preparation import paths
from hvcod.tasks.reading.compression import Gap, Piece, codec_by_content, decompress
from hvcod.tasks.reading.files import readable
from hvcod.tasks.reading.kinds import pointer_kind

CHUNK_BYTES = 1024 * 1024
BUFFER_BYTES = 64 * 1024
LONGEST_HEAD = 256
DEEPEST = 3
"""The greatest depth of archives in archives; the official training data have tar files in one."""

MAX_IMAGE_BYTES = 256 * 2**20
"""A member with more bytes is not read as an image; a sparse one may claim any size."""


@dataclass(frozen=True)
class Member:
    """A file of an archive or a folder.

    Attributes:
        path: Folders and name, archives counting as folders; the name is empty for a folder that
            is left alone.
        content: Its bytes; None if it is not named like an image, is too large or is left alone.
        size: The bytes that it has, or claims to have.
        is_link: Whether it is a link in an archive: the file that it leads to may be anywhere.
    """

    path: tuple[str, ...]
    content: bytes | None
    size: int
    is_link: bool = False


class _UnsupportedError(tarfile.ReadError):
    """Raised for an archive that is whole and cannot be read as it is compressed."""


class _Header(tarfile.TarInfo):
    """A member's header that refuses damage, which tarfile takes for the end."""

    end_is_marked = False

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Reads a header; raises ReadError if it is damaged or cut off."""
        if cls.end_is_marked and not buf:
            raise tarfile.ReadError("cut off (the mark of its end is missing)")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf) and len(buf) in (0, tarfile.BLOCKSIZE):  # an end
                raise
            raise tarfile.ReadError(f"damaged or cut off ({error})") from error


class _WholeHeader(_Header):
    """A header of an archive that is read to its end, which has a mark."""

    end_is_marked = True


class _Decompressed(io.RawIOBase):
    """The bytes of a stream, decompressed if necessary."""

    def __init__(self, stream: IO[bytes]) -> None:
        head = stream.read(LONGEST_HEAD)
        chunks = itertools.chain([head], iter(lambda: stream.read(CHUNK_BYTES), b""))
        codec = codec_by_content(head)
        self._pieces: Iterator[Piece] = decompress(chunks, codec) if codec else chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes, fewer at the end; raises ReadError if they are damaged."""
        parts, missing = [self._rest], size - len(self._rest)
        while missing > 0 and (piece := next(self._pieces, None)) is not None:
            if isinstance(piece, Gap):
                raise (_UnsupportedError if piece.unsupported else tarfile.ReadError)(piece.reason)
            if isinstance(piece, bytes):
                parts.append(piece)
                missing -= len(piece)
        content = b"".join(parts)
        self._rest = content[size:]
        return content[:size]


class _Window(io.RawIOBase):
    """A range of bytes of an open file."""

    def __init__(self, file: IO[bytes], begin: int, end: int) -> None:
        file.seek(begin)
        self._file, self._left = file, end - begin

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes of the range."""
        content = self._file.read(min(size, self._left))
        self._left -= len(content)
        return content


def is_compressed(path: Path) -> bool:
    """Tells whether a tar file is compressed, so that it can only be read from its beginning.

    Raises:
        UsageError: The file cannot be read, is empty, or is a pointer to one.
    """
    with readable(path), path.open("rb") as file:
        head = file.read(LONGEST_HEAD)
    if not head:
        raise UsageError(f"{path}: the file is empty")
    if kind := pointer_kind(head):
        raise UsageError(f"{path} is {kind}")
    return codec_by_content(head) is not None


def cuts(path: Path, unit_bytes: int) -> list[int]:
    """Returns offsets that cut a plain tar file at members into ranges of about a size.

    Only headers are read.

    Raises:
        HvcodError: The file is damaged or cut off.
    """
    offsets = [0]
    with _explained(path), tarfile.open(path, "r:", tarinfo=_WholeHeader) as archive:
        while member := archive.next():
            _forget(archive)
            if member.offset >= offsets[-1] + unit_bytes:
                offsets.append(member.offset)
        return [*offsets, archive.offset]


def range_members(path: Path, begin: int, end: int) -> Iterator[Member]:
    """Yields the files in a range of a plain tar file between two offsets of `cuts`.

    Raises:
        HvcodError: The file is damaged or cut off, or cannot be read.
    """
    with _explained(path), path.open("rb") as file:
        yield from _members(_Window(file, begin, end), (), _Header)


def all_members(path: Path) -> Iterator[Member]:
    """Yields the files of a tar file, compressed or not, in one pass.

    Raises:
        HvcodError: The file is damaged or cut off, not a tar file, or cannot be read.
    """
    with _explained(path), path.open("rb") as file:
        yield from _members(_Decompressed(file), (), _WholeHeader)


def _members(
    stream: io.RawIOBase, above: tuple[str, ...], header: type[tarfile.TarInfo]
) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=header, bufsize=BUFFER_BYTES) as archive:
        while member := archive.next():
            _forget(archive)
            path = (*above, *paths.components(member.name))
            if path and (member.issym() or member.islnk()):
                yield Member(path, None, 0, is_link=True)
            content = archive.extractfile(member) if member.isreg() and path else None
            if content is None:  # folders, links, devices
                continue
            if paths.left_alone(path):
                yield Member(path, None, member.size)
            elif paths.is_inner_archive(path[-1]) and len(above) < DEEPEST:
                inner = (*path[:-1], paths.archive_folder(path[-1]))
                yield from _members(_Decompressed(content), inner, _WholeHeader)
            else:
                wanted = paths.is_image_name(path[-1]) and member.size <= MAX_IMAGE_BYTES
                yield Member(path, content.read() if wanted else None, member.size)


def _forget(archive: tarfile.TarFile) -> None:
    """Drops the headers that tarfile collects, a gigabyte for a million of them."""
    vars(archive)["members"].clear()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except _UnsupportedError as error:
        raise HvcodError(f"{path}: cannot be read: {error}") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = reason_of(error)
        raise HvcodError(f"{path}: cannot be read: {reason}; get the file again") from error
