"""The inputs of a preparation: files, or rows that are generated, as plain text in the end."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hvcod.errors import UsageError
from hvcod.tasks.criteo.preparation.generate import GENERATED_AT_ONCE, generate
from hvcod.tasks.criteo.preparation.malformed import LOST
from hvcod.tasks.criteo.preparation.row_formats import LAYOUTS, Layout, recognise
from hvcod.tasks.files import write_arrays, write_blocks
from hvcod.tasks.preparing.workspace import Workspace
from hvcod.tasks.reading.compression import (
    Codec,
    Gap,
    Piece,
    codec_by_content,
    codec_by_name,
    decompress,
)
from hvcod.tasks.reading.files import chunks, fitting, readable

_CHUNK = 2**20
_ENDINGS = (".txt", ".tsv", ".csv")


@dataclass(frozen=True)
class Source:
    """One input: a file or, where there is none, rows of the generator.

    Attributes:
        name: How it is called in messages.
        path: The file.
        seed: Of the generator.
        first: The first generated row.
        rows: How many rows are generated.
    """

    name: str
    path: Path | None = None
    seed: int = 0
    first: int = 0
    rows: int = 0

    def identity(self) -> list[Any]:
        """What the result follows from: the name and, of a file, its size."""
        if self.path is None:
            return [self.name, self.rows]
        with readable(self.path):
            return [self.name, self.path.stat().st_size]


class Text(NamedTuple):
    """An input as plain text.

    Attributes:
        path: Where it is.
        size: Its bytes.
        begin: The byte at which the rows begin.
        layout: Its columns, as a place in `LAYOUTS`.
    """

    path: str
    size: int
    begin: int
    layout: int

    @property
    def columns(self) -> Layout:
        """Its columns."""
        return LAYOUTS[self.layout]


def expand_inputs(inputs: Sequence[str]) -> list[Source]:
    """The files that the inputs stand for: in the order given, as rows are in order of time.

    An input is a file, a glob, or a folder, of which every file below it counts that is called
    .txt, .tsv or .csv, compressed or not. Files of a glob or folder come in natural order: day_2
    before day_10.

    Raises:
        UsageError: An input matches nothing, or a file is given twice.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        files = _files(Path(given).expanduser())
        if not files:
            raise UsageError(f"nothing matches {given}; give files, folders or globs")
        for file in files:
            if file.resolve() in found:
                raise UsageError(f"{file} is given twice: its rows would count double")
            found[file.resolve()] = file
    return [Source(str(file), file) for file in found.values()]


def generated_inputs(rows: int, seed: int) -> list[Source]:
    """Inputs that the generator fills."""
    return [
        Source(
            f"generated rows from {first} on, seed {seed}",
            seed=seed,
            first=first,
            rows=min(GENERATED_AT_ONCE, rows - first),
        )
        for first in range(0, rows, GENERATED_AT_ONCE)
    ]


def make_plain(workspace: Workspace, index: int, source: Source) -> None:
    """Sees to it that an input is there as plain text, and says where.

    Raises:
        HvcodError: It cannot be read, or is none of the Criteo data.
    """
    if source.path is None:
        text, probabilities = generate(source.seed, source.first, source.rows)
        path = workspace.file("plain", index, ".txt")
        write_arrays(workspace.file("plain", index, ".npz"), probabilities=probabilities)
        write_blocks(path, [text])
    elif codec := _codec(source.path):
        path = workspace.file("plain", index, ".txt")
        write_blocks(path, _without_gaps(decompress(chunks(source.path, _CHUNK), codec)))
    else:
        path = source.path.absolute()
    head = next(chunks(path, _CHUNK), b"")
    layout, begin = recognise(source.name, head)
    text_of = Text(str(path), path.stat().st_size, begin, layout)
    workspace.finish("plain", index, text_of._asdict())


def _files(path: Path) -> list[Path]:
    with readable(path):
        if path.is_file():
            return [path]
        every = filter(_belongs, path.rglob("*")) if path.is_dir() else fitting(path)
        return sorted((file for file in every if file.is_file()), key=_natural)


def _belongs(file: Path) -> bool:
    codec = codec_by_name(file.name)
    plain = file.stem if codec else file.name
    return plain.lower().endswith(_ENDINGS) and not file.name.startswith(".")


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]


def _codec(path: Path) -> Codec | None:
    head = next(chunks(path, _CHUNK), b"")
    # Damaged at its very beginning, a compressed file is known by its name alone.
    damaged = b"\0" in head and codec_by_name(path.name)
    return codec_by_content(head) or damaged or None


def _without_gaps(pieces: Iterator[Piece]) -> Iterator[bytes]:
    """The text; where some is lost, a line says so, and a line that was cut ends in a NUL byte."""
    trusted, at_line_start = True, True
    for piece in pieces:
        if isinstance(piece, Gap):
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
