"""The first stage: every input becomes plain text with a known layout."""

import contextlib
import io
import itertools
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.preparation.generate import generate
from hvcod.tasks.criteo.preparation.malformed import LOST
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.row_formats import Layout, recognise
from hvcod.tasks.criteo.preparation.sources import Source, is_about
from hvcod.tasks.files import write_arrays, write_blocks
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.tasks.reading import compression
from hvcod.tasks.reading.files import chunks, is_left_alone
from hvcod.tasks.reading.kinds import is_tar

PLAIN = Stage("opened", "opening", "row")  # "plain" in version 0.1, which knew fewer layouts

_CHUNK = 2**20
_HEAD_BYTES = 64 * 1024
_P = TypeVar("_P", bytes, compression.Piece)
_QUOTED = re.compile(rb'"([^",;|\t\r\n]*)"')
_DECIMALS = re.compile(rb"(?<=\d)\.0+(?=[,;|\t\r\n])")


class Text(NamedTuple):
    """An input as plain text: its name in messages, its file, and the size of that in bytes.

    Rows begin at the byte ``begin``; ``source`` is the number of the input.
    """

    name: str
    path: str
    size: int
    begin: int
    columns: Layout
    source: int


def make_plain(workspace: Workspace, index: int, source: Source, options: PrepareOptions) -> Report:
    """Returns what is known of an input as plain text, which is written out if it is not its own.

    Raises:
        HvcodError: It cannot be read, or does not hold rows of the Criteo data.
    """
    path = workspace.file(PLAIN, index, ".txt")
    left_alone: list[str] = []
    if source.path is None:
        text, probabilities = generate(source.seed, source.first, source.rows)
        write_arrays(workspace.file(PLAIN, index, ".npz"), probabilities=probabilities)
        layout, begin = _write(path, iter([text]), source.name, options)
    elif is_tar(_peek(_pieces(source.path))[0]):
        layout, begin, left_alone = _unpack(source.path, path, options)
    elif _codec(source.path):
        layout, begin = _write(path, _pieces(source.path), source.name, options)
    else:
        layout, begin = recognise(source.name, _peek(_pieces(source.path))[0])
        if layout.quoted or options.decimals:
            layout, begin = _write(path, _pieces(source.path), source.name, options)
        else:
            path = source.path.absolute()
    known = {"path": str(path), "begin": begin, "layout": layout.to_json()}
    return {**known, "size": path.stat().st_size, "left_alone": left_alone}


def _pieces(path: Path) -> Iterator[compression.Piece]:
    codec, raw = _codec(path), chunks(path, _CHUNK)
    for piece in compression.decompress(raw, codec) if codec else raw:
        if isinstance(piece, compression.Gap) and piece.unsupported:
            raise HvcodError(f"{path}: {piece.reason}")
        yield piece


def _codec(path: Path) -> compression.Codec | None:
    head = next(chunks(path, _CHUNK), b"")
    # A compressed file whose beginning is damaged is known by its name alone.
    damaged = b"\0" in head and not is_tar(head) and compression.codec_by_name(path.name)
    return compression.codec_by_content(head) or damaged or None


def _peek(pieces: Iterator[_P]) -> tuple[bytes, Iterator[_P]]:
    """Returns the first bytes of pieces, and all pieces again."""
    taken: list[_P] = []
    head = b""
    for piece in pieces:
        taken.append(piece)
        head += piece if isinstance(piece, bytes) else b""
        if len(head) >= _HEAD_BYTES:
            break
    return head, itertools.chain(taken, pieces)


def _write(
    path: Path, pieces: Iterator[compression.Piece], name: str, options: PrepareOptions
) -> tuple[Layout, int]:
    """Writes text and returns its layout and the byte at which its rows begin.

    It is written without quotes around fields and, on request, without ``.0`` behind numbers.
    """
    head, text = _peek(_without_gaps(pieces))
    layout, begin = recognise(name, head)
    if layout.quoted or options.decimals:
        text = _whole_lines(text)
    if layout.quoted:
        text = (_QUOTED.sub(rb"\1", lines) for lines in text)
        _, begin = recognise(name, _QUOTED.sub(rb"\1", head))
    if options.decimals:
        text = (_DECIMALS.sub(b"", lines) for lines in text)
    write_blocks(path, text)
    return layout, begin


def _whole_lines(text: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in text:
        lines, line_feed, rest = (rest + block).rpartition(b"\n")
        if line_feed:
            yield lines + line_feed
    if rest:
        yield rest + b"\n"


def _unpack(tar: Path, path: Path, options: PrepareOptions) -> tuple[Layout, int, list[str]]:
    """Writes the one file of rows in a tar file, such as the official one of 2014.

    Rows with labels are taken and those without are left alone, with ``--like`` the other way
    round, if there are both.

    Returns:
        Its layout, the byte at which its rows begin, and what was left alone.
    """
    for has_label in (False, True) if options.like and not options.divide else (True, False):
        if taken := _extract(tar, path, has_label, options):
            return taken
    raise HvcodError(f"{tar} is a tar file without rows of the Criteo data")


def _extract(
    tar: Path, path: Path, has_label: bool, options: PrepareOptions
) -> tuple[Layout, int, list[str]] | None:
    """Writes the file of rows with labels, or without, if there is one."""
    taken: dict[str, tuple[Layout, int]] = {}
    left_alone = []
    with _explained(tar), tarfile.open(fileobj=_Stream(_pieces(tar)), mode="r|") as archive:
        for member in archive:
            inside = archive.extractfile(member)
            name = f"{tar}: {member.name}"
            if inside is None:  # a folder
                continue
            if _is_aside(member.name):
                left_alone.append(name)
                continue
            head, pieces = _peek(_inner(inside))
            if recognise(name, head)[0].has_label != has_label:
                left_alone.append(f"{name} (rows {'without' if has_label else 'with'} labels)")
                continue
            if taken:
                raise HvcodError(
                    f"{tar} has several files of rows, {next(iter(taken))} and {member.name}: "
                    "unpack it, and give them in the order of their rows"
                )
            taken[member.name] = _write(path, pieces, name, options)
    return next(((*found, left_alone) for found in taken.values()), None)


@contextlib.contextmanager
def _explained(tar: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        reason = f"{tar}: cannot be unpacked: {error}"
        raise HvcodError(f"{reason}; get the file again, or unpack what is left of it") from error


def _is_aside(member: str) -> bool:
    *folders, name = member.removeprefix("./").split("/")
    return name.startswith(".") or is_about(name) or any(map(is_left_alone, folders))


def _inner(file: IO[bytes]) -> Iterator[compression.Piece]:
    head = file.read(_CHUNK)
    raw = itertools.chain([head], iter(lambda: file.read(_CHUNK), b""))
    codec = compression.codec_by_content(head)
    return compression.decompress(raw, codec) if codec else raw


class _Stream(io.RawIOBase):
    """The bytes of pieces, as tarfile reads them."""

    def __init__(self, pieces: Iterator[compression.Piece]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes, fewer at the end; raises ReadError if they are damaged."""
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            if isinstance(piece, compression.Gap):
                raise tarfile.ReadError(piece.reason)
            self._rest += piece if isinstance(piece, bytes) else b""
        content, self._rest = self._rest[:size], self._rest[size:]
        return content


def _without_gaps(pieces: Iterator[compression.Piece]) -> Iterator[bytes]:
    """Yields the text; a line stands for text that is lost, and a line that was cut ends in NUL."""
    trusted, at_line_start = True, True
    for piece in pieces:
        if isinstance(piece, compression.Gap):
            cut = b"" if at_line_start else b"\0\n"
            yield cut + LOST + piece.reason.encode() + b"\n"
            trusted, at_line_start = False, True
        elif isinstance(piece, bytes):
            text = piece
            if not trusted:  # until the next line begins
                _, line_feed, text = piece.partition(b"\n")
                trusted = bool(line_feed)
            if text:
                at_line_start = text.endswith(b"\n")
                yield text
