"""Parsing pieces of text: the rows of each go to the work folder.

Ranks share pieces of the plain text, not inputs: so one large file keeps all of them busy.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.dataset import CATEGORIES, INTEGERS
from hvcod.tasks.criteo.preparation.lines import count_lines, line_blocks
from hvcod.tasks.criteo.preparation.malformed import Malformed
from hvcod.tasks.criteo.preparation.parse import Rows, parse
from hvcod.tasks.criteo.preparation.sources import Text
from hvcod.tasks.files import write_blocks
from hvcod.tasks.preparing.pipeline import Look, Report
from hvcod.tasks.preparing.workspace import Stage, Workspace

READ = Stage("read", "reading", "row")
EXAMPLES_KEPT = 10

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


def read_piece(
    workspace: Workspace,
    index: int,
    piece: Piece,
    name: str,
    text: Text,
    most_malformed: int,
    look: Look,
) -> Report:
    """Parses a piece, writes its rows to the work folder and returns counts.

    Raises:
        HvcodError: The text cannot be read, or this piece alone has too many malformed lines.
    """
    blocks: list[Rows] = []
    kinds: Counter[str] = Counter()
    examples: list[Malformed] = []
    lines = 0
    for content in line_blocks(Path(text.path), piece.start, piece.stop, text.begin):
        rows, malformed, count = parse(content, text.columns)
        blocks.append(rows._replace(lines=rows.lines + lines))
        kinds.update(line.kind for line in malformed)
        missing = EXAMPLES_KEPT - len(examples)
        examples += [line._replace(line=line.line + lines) for line in malformed[:missing]]
        lines += count
        if kinds.total() > most_malformed:
            before = count_lines(Path(text.path), piece.start, text.begin)
            raise too_many(_position(examples[0], before, name, text), most_malformed)
        look(lines)
    columns = zip(_joined(blocks, text), _COLUMNS, strict=True)
    contents = (column.astype(dtype, order="C", copy=False) for column, (dtype, _) in columns)
    write_blocks(workspace.file(READ, index, ".rows"), (column.tobytes() for column in contents))
    rows_read = sum(len(rows.lines) for rows in blocks)
    return {"lines": lines, "rows": rows_read, "kinds": kinds, "examples": examples}


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
    """All pieces after reading, and the rows and lines before each.

    Args:
        names: Names of the inputs.
        texts: The inputs.
        pieces: The pieces.
        results: The results of `read_piece` for them.

    Attributes:
        rows: Rows of each piece, int64 [pieces].
        rows_before: Rows of all pieces before each.
        lines_before: Lines of all pieces before each.
        filled: The pieces that have rows.
    """

    def __init__(
        self,
        names: Sequence[str],
        texts: Sequence[Text],
        pieces: Sequence[Piece],
        results: Sequence[Report],
    ) -> None:
        self.pieces = pieces
        self._names, self._texts, self._results = names, texts, results
        self.rows = np.array([result["rows"] for result in results], dtype=np.int64)
        lines = np.array([result["lines"] for result in results], dtype=np.int64)
        self.rows_before = np.cumsum(self.rows) - self.rows
        self.lines_before = np.cumsum(lines) - lines
        self.filled: list[int] = np.flatnonzero(self.rows).tolist()
        first = {piece.source: index for index, piece in reversed([*enumerate(pieces)])}
        self._first = [first[piece.source] for piece in pieces]

    def text(self, index: int) -> Text:
        """Returns the input of a piece."""
        return self._texts[self.pieces[index].source]

    def lines_of_input_before(self, index: int) -> int:
        """Returns the number of lines of its own input before a piece."""
        return int(self.lines_before[index] - self.lines_before[self._first[index]])

    def check(self, most_malformed: int) -> None:
        """Raises HvcodError if there are more malformed lines than allowed."""
        malformed = 0
        for result in self._results:
            malformed += sum(result["kinds"].values())
            if malformed > most_malformed:
                index = next(i for i, one in enumerate(self._results) if one["examples"])
                raise too_many(self._positions(index)[0], most_malformed)

    def inputs(self) -> list[Report]:
        """Returns for each input lines, rows, malformed lines by kind, and examples of them."""
        inputs: list[Report] = [
            {"name": name, "lines": 0, "rows": 0, "malformed": {}, "examples": []}
            for name in self._names
        ]
        for index, (piece, result) in enumerate(zip(self.pieces, self._results, strict=True)):
            report = inputs[piece.source]
            report["lines"] += result["lines"]
            report["rows"] += result["rows"]
            for kind, count in result["kinds"].items():
                report["malformed"][kind] = report["malformed"].get(kind, 0) + count
            report["examples"] += self._positions(index)
        return inputs

    def _positions(self, index: int) -> list[str]:
        name, before = self._names[self.pieces[index].source], self.lines_of_input_before(index)
        examples = self._results[index]["examples"]
        return [_position(example, before, name, self.text(index)) for example in examples]


def too_many(example: str, most_malformed: int) -> HvcodError:
    """Returns the error for more malformed lines than allowed."""
    return HvcodError(
        f"more than {most_malformed} malformed rows: {example}; correct the input, or allow more "
        "with --max-malformed"
    )


def _position(example: Sequence[Any], before: int, name: str, text: Text) -> str:
    """Names file, line (from 1) and damage of a `Malformed` of a piece.

    ``before`` counts the lines of the input before the piece.
    """
    line, _, damage = example
    return f"{name}, line {before + line + 1 + text.columns.header}: {damage}"


def _joined(blocks: Sequence[Rows], text: Text) -> Rows:
    none = parse(b"", text.columns).rows
    columns = zip(*(blocks or [none]), strict=True)
    return Rows(*(np.concatenate(column, axis=-1) for column in columns))
