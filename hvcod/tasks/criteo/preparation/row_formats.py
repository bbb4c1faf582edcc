"""The formats of Criteo's rows, and how they are recognised.

The official files (Kaggle 2014 and the Terabyte set) have no header: label, 13 integers and 26
categories, separated by tabs; those of the test set lack the label. Others have a header, an id in
the first column, commas or quotes. An empty field is a missing value. A category is a hash of 32
bits, written as eight hexadecimal digits.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.dataset import CATEGORIES, CATEGORY_NAMES, INTEGER_NAMES, INTEGERS
from hvcod.tasks.reading.kinds import foreign_kind

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 64 * 1024
"""Bytes of a line that are read; no row is nearly as long."""

NO_CLICK, CLICK = 0, 1
USUAL_LABELS = {
    **dict.fromkeys(("0", "-1", "0.0", "-1.0", "false", "False", "FALSE"), NO_CLICK),
    **dict.fromkeys(("1", "1.0", "true", "True", "TRUE"), CLICK),
}
"""The ways to write a label that are understood without ``--labels``."""

_LINES_TRIED = 100
_DELIMITERS = (b"\t", b",", b";", b"|")
_FEATURES = INTEGERS + CATEGORIES
_ID_NAMES = ("", "id", "index", "idx", "unnamed: 0")
_LABEL_NAMES = ("label", "labels", "click", "clicked", "is_click", "is_clicked", "target", "y")
_NUMBERED = re.compile(r"(i|int|integer|dense|num|n)[_-]?(\d+)|(c|cat|category|sparse)[_-]?(\d+)")


@dataclass(frozen=True)
class Layout:
    """The columns of a file.

    Attributes:
        delimiter: The byte between two columns.
        has_id: The first column is a number that names the row.
        has_label: The next one tells whether there was a click.
        header: The first line names the columns.
        quoted: Fields may be in quotes.
        labels: The ways to write a label, `NO_CLICK` or `CLICK`.
    """

    delimiter: bytes
    has_id: bool
    has_label: bool
    header: bool
    quoted: bool = False
    labels: dict[str, int] = field(default_factory=USUAL_LABELS.copy, hash=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in order."""
        front = ("Id",) * self.has_id + ("Label",) * self.has_label
        return (*front, *INTEGER_NAMES, *CATEGORY_NAMES)

    def to_json(self) -> dict[str, Any]:
        """Returns all but the labels, to be written as JSON."""
        values = asdict(self)
        del values["labels"]
        return {**values, "delimiter": self.delimiter.decode()}

    @staticmethod
    def from_json(values: dict[str, Any], labels: dict[str, int]) -> "Layout":
        """Returns a layout from what `to_json` returned."""
        return Layout(**{**values, "delimiter": values["delimiter"].encode()}, labels=labels)


TSV, TSV_UNLABELLED, CSV, CSV_UNLABELLED = LAYOUTS = (
    Layout(b"\t", has_id=False, has_label=True, header=False),
    Layout(b"\t", has_id=False, has_label=False, header=False),
    Layout(b",", has_id=True, has_label=True, header=True),
    Layout(b",", has_id=True, has_label=False, header=True),
)
"""The layouts of the official files and of the usual CSV."""


def recognise(name: str, head: bytes) -> tuple[Layout, int]:
    """Returns a file's layout and the byte at which its rows begin.

    Both follow from its beginning, some hundred lines.

    Raises:
        HvcodError: The layout is not one of the known ones.
    """
    begin = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    lines = head[begin:].split(b"\n")[:_LINES_TRIED]
    if not any(line.strip() for line in lines):
        raise HvcodError(f"{name} is empty: no rows of the Criteo data in it")
    if kind := foreign_kind(head):
        raise HvcodError(f"{name} is {kind}")
    quoted = any(b'"' in line for line in lines)
    for delimiter in _DELIMITERS:
        names = [_bare(field) for field in lines[0].split(delimiter)]
        front = _front(names)
        if front is not None:
            layout = Layout(delimiter, *front, header=True, quoted=quoted)
            return layout, begin + len(lines[0]) + 1
    has_names = any(_are_names(lines[0].split(delimiter)) for delimiter in _DELIMITERS)
    for has_label in () if has_names else (True, False):
        for delimiter in _DELIMITERS:
            if _FEATURES + has_label in {line.count(delimiter) + 1 for line in lines}:
                return Layout(delimiter, False, has_label, header=False, quoted=quoted), begin
    raise HvcodError(f"{name} {_difference(lines[0])}")


def _front(names: Sequence[str]) -> tuple[bool, bool] | None:
    """Tells whether a header has an id and a label; None if it is not one of the Criteo data."""
    front, features = names[:-_FEATURES], names[-_FEATURES:]
    if len(features) < _FEATURES or not _are_numbered(features):
        return None
    has_id = bool(front) and front[0] in _ID_NAMES
    has_label = len(front) > has_id and front[has_id] in _LABEL_NAMES
    return (has_id, has_label) if len(front) == has_id + has_label else None


def _are_numbered(names: Sequence[str]) -> bool:
    """Tells whether names are those of 13 integers and 26 categories, numbered from 0 or 1."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    integers = [match and match[2] for match in found[:INTEGERS]]
    categories = [match and match[4] for match in found[INTEGERS:]]
    return any(
        integers == [str(first + number) for number in range(INTEGERS)]
        and categories in (_numbers(first, CATEGORIES), _numbers(first + INTEGERS, CATEGORIES))
        for first in (0, 1)
    )


def _are_names(fields: Sequence[bytes]) -> bool:
    """Tells whether a line names columns: rows could be read in the wrong order by another."""
    return len(fields) >= _FEATURES and all(
        re.match("[a-z_]", _bare(field)) for field in fields[1:INTEGERS]
    )


def _numbers(first: int, count: int) -> list[str | None]:
    return [str(first + number) for number in range(count)]


def _bare(field: bytes) -> str:
    return field.decode(errors="replace").strip().strip("\"'").strip().lower()


def _difference(line: bytes) -> str:
    shown = repr(line[:60].decode(errors="replace"))
    known = (
        f"{_FEATURES + 1} columns ({_FEATURES} without label) separated by tabs or commas, or a "
        "table with the header [Id,][Label,]I1,...,I13,C1,...,C26"
    )
    if max(map(line.count, _DELIMITERS)) >= _FEATURES:
        return (
            "has columns but not the header Id,Label,I1,...,I13,C1,...,C26 (Id and Label may be "
            f"absent), nor {_FEATURES + 1} columns without header: line 1 begins {shown}"
        )
    return f"has no rows of the Criteo data, {known}; it begins {shown}"
