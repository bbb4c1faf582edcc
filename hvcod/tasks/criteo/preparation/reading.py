"""Parsing pieces of text: the rows of each go to the work folder.

Ranks share pieces of the plain text, not inputs: so one large file keeps all of them busy.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.dataset import CATEGORIES, INTEGERS
from hvcod.tasks.criteo.preparation.limits import too_many
from hvcod.tasks.criteo.preparation.malformed import Malformed
from hvcod.tasks.criteo.preparation.opening import Text
from hvcod.tasks.criteo.preparation.parse import Rows, parse
from hvcod.tasks.criteo.preparation.row_formats import LONGEST_LINE
from hvcod.tasks.files import write_blocks
from hvcod.tasks.preparing.pipeline import Look, Report
from hvcod.tasks.preparing.workspace import Stage, Workspace
from hvcod.tasks.reading.files import readable

READ = Stage("parsed", "reading", "row")  # "read" in version 0.1, which knew fewer labels
EXAMPLES_KEPT = 10

BLOCK_BYTES = 2**20
"""Text that is parsed at once: the arrays made from it stay in a core's cache."""

_COLUMNS = (
    *((np.int64, 1), (np.int64, 1), (np.int8, 1)),
    *((np.float32, INTEGERS), (np.uint32, CATEGORIES), (np.uint32, 1)),
)
"""Types and widths of the columns of `Rows`, in their order in a file."""


class Piece(NamedTuple):
    """The lines of an input that begin in a range of bytes."""

    source: int
    start: int
    stop: int


def cut(texts: Sequence[Text], size: int) -> list[Piece]:
    """Returns the pieces of all inputs, in the order of their rows."""
    return [
        Piece(index, start, min(start + size, text.size))
        for index, text in enumerate(texts)
        for start in range(0, text.size, size)
    ]


def line_blocks(path: Path, start: int, stop: int, begin: int = 0) -> Iterator[bytes]:
    """Yields the lines that begin from ``start`` to before ``stop``, several at a time.

    The file's first line begins at ``begin``. A block ends with a line feed, even where the file
    does not. A line longer than `LONGEST_LINE` is cut one byte behind that length.

    Raises:
        HvcodError: The file cannot be read.
    """
    with readable(path), path.open("rb", buffering=0) as opened:
        file = opened.fileno()
        position = max(begin, _line_after(file, start))
        end = _line_after(file, stop)
        rest = b""
        while position < end:
            read = os.pread(file, min(BLOCK_BYTES, end - position), position)
            if not read:
                raise HvcodError(f"{path} has become shorter while it was read: begin again")
            position += len(read)
            lines = read.rfind(b"\n") + 1
            if lines:
                yield rest + read[:lines]
                rest = b""
            rest = (rest + read[lines:])[: LONGEST_LINE + 1]
        if rest:
            yield rest + b"\n"


def _line_after(file: int, position: int) -> int:
    """Returns the first position from this one on at which a line begins, or the file's end."""
    if position == 0:
        return 0
    position -= 1
    while block := os.pread(file, BLOCK_BYTES, position):
        line_feed = block.find(b"\n")
        if line_feed >= 0:
            return position + line_feed + 1
        position += len(block)
    return position


def read_piece(
    workspace: Workspace,
    index: int,
    piece: Piece,
    text: Text,
    most_malformed: int | None,
    look: Look,
) -> Report:
    """Parses a piece, writes its rows to the work folder and returns counts.

    Raises:
        HvcodError: The text cannot be read, or this piece alone has too many malformed lines.
    """
    path = Path(text.path)
    blocks = [parse(b"", text.columns).rows]
    kinds, labels = Counter[str](), Counter[str]()
    examples: list[Malformed] = []
    lines = 0
    for content in line_blocks(path, piece.start, piece.stop, text.begin):
        rows, malformed, count, written = parse(content, text.columns)
        blocks.append(rows._replace(lines=rows.lines + lines))
        kinds.update(line.kind for line in malformed)
        labels.update(written)
        missing = EXAMPLES_KEPT - len(examples)
        examples += [line._replace(line=line.line + lines) for line in malformed[:missing]]
        lines += count
        if most_malformed is not None and kinds.total() > most_malformed:
            earlier = line_blocks(path, 0, piece.start, text.begin)
            before = sum(block.count(b"\n") for block in earlier)
            raise too_many(_position(examples[0], before, text), most_malformed, kinds)
        look(lines)
    joined = (np.concatenate(column, axis=-1) for column in zip(*blocks, strict=True))
    columns = zip(joined, _COLUMNS, strict=True)
    contents = (column.astype(dtype, copy=False).tobytes() for column, (dtype, _) in columns)
    write_blocks(workspace.file(READ, index, ".rows"), contents)
    rows_read = sum(len(rows.lines) for rows in blocks)
    counts = {"lines": lines, "rows": rows_read, "kinds": kinds, "labels": labels}
    return {**counts, "examples": examples}


def read_rows(workspace: Workspace, index: int) -> Rows:
    """Returns the rows of a finished piece.

    Raises:
        HvcodError: The work folder was changed.
    """
    path = workspace.file(READ, index, ".rows")
    count = workspace.result(READ, index)["rows"]
    try:
        with path.open("rb") as file:
            columns = [
                np.fromfile(file, dtype, count * features).reshape(-1, count)
                for dtype, features in _COLUMNS
            ]
            return Rows(*(column if len(column) > 1 else column[0] for column in columns))
    except (OSError, ValueError) as error:
        raise HvcodError(f"{path} is damaged: remove {workspace.folder} and begin again") from error


class ReadPieces:
    """All pieces of the inputs with the results of `read_piece`.

    Attributes:
        rows: Rows of each piece, int64 [pieces].
        rows_before: Rows of all pieces before each.
        lines_before: Lines of all pieces before each.
        filled: The pieces that have rows.
    """

    def __init__(
        self, texts: Sequence[Text], pieces: Sequence[Piece], results: Sequence[Report]
    ) -> None:
        self.pieces, self._texts, self._results = pieces, texts, results
        self.rows = np.array([result["rows"] for result in results], dtype=np.int64)
        lines = np.array([result["lines"] for result in results], dtype=np.int64)
        self.rows_before = np.cumsum(self.rows) - self.rows
        self.lines_before = np.cumsum(lines) - lines
        self.filled: list[int] = np.flatnonzero(self.rows).tolist()

    def text(self, index: int) -> Text:
        """Returns the input of a piece."""
        return self._texts[self.pieces[index].source]

    def lines_of_input_before(self, index: int) -> int:
        """Returns the number of lines of its own input before a piece."""
        first = bisect_left(self.pieces, Piece(self.pieces[index].source, 0, 0))
        return int(self.lines_before[index] - self.lines_before[first])

    def inputs(self) -> list[Report]:
        """Returns for each input lines, rows, malformed lines by kind with examples, and labels."""
        inputs: list[Report] = [
            {
                **{"name": text.name, "lines": 0, "rows": 0, "malformed": Counter()},
                **{"labels": Counter(), "examples": []},
            }
            for text in self._texts
        ]
        for index, (piece, result) in enumerate(zip(self.pieces, self._results, strict=True)):
            report = inputs[piece.source]
            report["lines"] += result["lines"]
            report["rows"] += result["rows"]
            report["malformed"].update(result["kinds"])
            report["labels"].update(result["labels"])
            report["examples"] += self._positions(index)
        return inputs

    def _positions(self, index: int) -> list[str]:
        before, text = self.lines_of_input_before(index), self.text(index)
        return [_position(example, before, text) for example in self._results[index]["examples"]]


def _position(example: Sequence[Any], before: int, text: Text) -> str:
    """Names file, line (from 1) and damage of a `Malformed` of a piece.

    ``before`` counts the lines of the input before the piece.
    """
    line, _, damage = example
    return f"{text.name}, line {before + line + 1 + text.columns.header}: {damage}"
