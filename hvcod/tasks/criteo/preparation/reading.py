"""First pass of a preparation: every piece of text is parsed once, its rows go to the work folder.

Ranks share pieces of the plain text, not inputs: so one large file keeps all of them busy.
"""

from collections import Counter
from collections.abc import Callable, Sequence
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
from hvcod.tasks.preparing.workspace import Workspace

EXAMPLES_KEPT = 10

_COLUMNS = (
    *((np.int64, 1), (np.int64, 1), (np.int8, 1)),
    *((np.float32, INTEGERS), (np.uint32, CATEGORIES), (np.uint32, 1)),
)
"""Types and widths of the columns of `Rows`, as they lie behind each other in a file."""


class Piece(NamedTuple):
    """The lines of an input that begin in a range of bytes."""

    source: int
    start: int
    stop: int


def cut(texts: Sequence[Text], size: int) -> list[Piece]:
    """All pieces, in the order of their rows."""
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
    advance: Callable[[int], None],
) -> None:
    """Parses a piece and writes down its rows and what was malformed.

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
        kinds.update(each.kind for each in malformed)
        missing = EXAMPLES_KEPT - len(examples)
        examples += [each._replace(line=each.line + lines) for each in malformed[:missing]]
        lines += count
        if kinds.total() > most_malformed:
            before = count_lines(Path(text.path), piece.start, text.begin)
            raise too_many(examples[0], before, name, text, most_malformed)
        advance(lines)
    columns = zip(_joined(blocks, text), _COLUMNS, strict=True)
    contents = (column.astype(dtype, order="C", copy=False) for column, (dtype, _) in columns)
    write_blocks(workspace.file("read", index, ".rows"), (each.tobytes() for each in contents))
    result = {"lines": lines, "rows": sum(len(rows.lines) for rows in blocks)}
    workspace.finish("read", index, {**result, "kinds": kinds, "examples": examples})


def read_rows(workspace: Workspace, index: int) -> Rows:
    """The rows of a finished piece.

    Raises:
        HvcodError: The work folder was changed.
    """
    path = workspace.file("read", index, ".rows")
    count = workspace.result("read", index)["rows"]
    try:
        with path.open("rb") as file:
            columns = [
                np.fromfile(file, dtype, count * features).reshape(-1, count)
                for dtype, features in _COLUMNS
            ]
            return Rows(*(each if len(each) > 1 else each[0] for each in columns))
    except (OSError, ValueError) as error:
        raise HvcodError(f"{path} is damaged: remove {workspace.folder} and begin again") from error


def place(example: Sequence[Any], before: int, name: str, text: Text) -> str:
    """Where a malformed line is and what is wrong: file, line from 1, and what was found there.

    Args:
        example: A `Malformed` of a piece.
        before: Lines of the input in front of the piece.
        name: Of the input.
        text: The input.
    """
    line, _, found = example
    return f"{name}, line {before + line + 1 + text.columns.header}: {found}"


def too_many(
    example: Sequence[Any], before: int, name: str, text: Text, most_malformed: int
) -> HvcodError:
    """The error for more malformed lines than allowed."""
    return HvcodError(
        f"more than {most_malformed} malformed rows: {place(example, before, name, text)}; mend "
        "the input, or allow more with --max-malformed"
    )


def _joined(blocks: Sequence[Rows], text: Text) -> Rows:
    none = parse(b"", text.columns).rows
    columns = zip(*(blocks or [none]), strict=True)
    return Rows(*(np.concatenate(column, axis=-1) for column in columns))
