"""The inputs of rows: files, or rows that are generated, as plain text in the end."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hvcod.errors import UsageError
from hvcod.tasks.criteo.preparation.generate import GENERATED_AT_ONCE, generate
from hvcod.tasks.criteo.preparation.malformed import LOST
from hvcod.tasks.criteo.preparation.row_formats import LAYOUTS, Layout, recognise
from hvcod.tasks.files import write_arrays, write_blocks
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.tasks.reading import compression
from hvcod.tasks.reading.files import Found, chunks, file_size, listed

PLAIN = Stage("plain", "opening", "row")

_CHUNK = 2**20
_SUFFIXES = (".txt", ".tsv", ".csv")


@dataclass(frozen=True)
class Source:
    """One input: a file or, without a path, rows of the generator from the first one on."""

    name: str
    path: Path | None = None
    seed: int = 0
    first: int = 0
    rows: int = 0

    @property
    def size(self) -> int | None:
        """Bytes of a file, by which a changed input is noticed, or generated rows."""
        return self.rows if self.path is None else file_size(self.path)


class Text(NamedTuple):
    """An input as plain text: its name in messages, its file, and the size of that in bytes.

    Rows begin at the byte ``begin``; ``layout`` is an index into `LAYOUTS`.
    """

    name: str
    path: str
    size: int
    begin: int
    layout: int

    @property
    def columns(self) -> Layout:
        """Its columns."""
        return LAYOUTS[self.layout]


def expand_inputs(inputs: Sequence[str]) -> Found[Source]:
    """Returns the files that the inputs stand for, in the given order: rows are in order of time.

    An input is a file, a glob, or a folder, which stands for every file below it that is named
    .txt, .tsv or .csv, compressed or not. Files of a glob or folder come in natural order: day_2
    before day_10.

    Raises:
        UsageError: An input matches nothing, or a file is given twice.
    """
    files: dict[Path, Path] = {}
    left_alone: dict[str, None] = {}
    for text in inputs:
        listing = listed(text, _is_rows_name)
        left_alone |= dict.fromkeys(map(str, listing.left_alone))
        for file in sorted(listing.files, key=_natural):
            if file.resolve() in files:
                raise UsageError(f"{file} is given twice: its rows would count double")
            files[file.resolve()] = file
    return Found([Source(str(file), file) for file in files.values()], list(left_alone))


def generated_inputs(rows: int, seed: int) -> list[Source]:
    """Returns inputs that the generator fills."""
    return [
        Source(
            f"generated rows from {first} on, seed {seed}",
            seed=seed,
            first=first,
            rows=min(GENERATED_AT_ONCE, rows - first),
        )
        for first in range(0, rows, GENERATED_AT_ONCE)
    ]


def make_plain(workspace: Workspace, index: int, source: Source) -> Report:
    """Returns an input as the fields of a `Text`; it is written out if it is not plain text.

    Raises:
        HvcodError: It cannot be read, or does not hold rows of the Criteo data.
    """
    path = workspace.file(PLAIN, index, ".txt")
    if source.path is None:
        text, probabilities = generate(source.seed, source.first, source.rows)
        write_arrays(workspace.file(PLAIN, index, ".npz"), probabilities=probabilities)
        write_blocks(path, [text])
    elif codec := _codec(source.path):
        write_blocks(
            path, _without_gaps(compression.decompress(chunks(source.path, _CHUNK), codec))
        )
    else:
        path = source.path.absolute()
    layout, begin = recognise(source.name, next(chunks(path, _CHUNK), b""))
    return {"path": str(path), "size": path.stat().st_size, "begin": begin, "layout": layout}


def _is_rows_name(name: str) -> bool:
    plain = name.rpartition(".")[0] if compression.codec_by_name(name) else name
    return plain.lower().endswith(_SUFFIXES)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]


def _codec(path: Path) -> compression.Codec | None:
    head = next(chunks(path, _CHUNK), b"")
    # A compressed file whose beginning is damaged is known by its name alone.
    damaged = b"\0" in head and compression.codec_by_name(path.name)
    return compression.codec_by_content(head) or damaged or None


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
