"""The formats of Criteo's rows, and how they are recognised.

The official files (Kaggle 2014 and the Terabyte set) have no header: label, 13 integers and 26
categories, separated by tabs; those of the test set lack the label. The CSV format has a header, an
id in the first column, and commas. An empty field is a missing value. A category is a hash of 32
bits, written as eight hexadecimal digits.
"""

from dataclasses import dataclass

from hvcod.errors import HvcodError
from hvcod.tasks.criteo.dataset import CATEGORIES, CATEGORY_NAMES, INTEGER_NAMES, INTEGERS

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 64 * 1024
"""Bytes of a line that are read; no row is nearly as long."""

_LINES_TRIED = 100


@dataclass(frozen=True)
class Layout:
    """The columns of a file.

    Attributes:
        delimiter: The byte between two columns.
        has_id: The first column is a number that names the row.
        has_label: The next one is 1 for a click and 0 for none.
        header: The first line names the columns.
    """

    delimiter: bytes
    has_id: bool
    has_label: bool
    header: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in order."""
        front = ("Id",) * self.has_id + ("Label",) * self.has_label
        return (*front, *INTEGER_NAMES, *CATEGORY_NAMES)


TSV, TSV_UNLABELLED, CSV, CSV_UNLABELLED = LAYOUTS = (
    Layout(b"\t", has_id=False, has_label=True, header=False),
    Layout(b"\t", has_id=False, has_label=False, header=False),
    Layout(b",", has_id=True, has_label=True, header=True),
    Layout(b",", has_id=True, has_label=False, header=True),
)


def recognise(name: str, head: bytes) -> tuple[int, int]:
    """Returns a file's layout, as an index into `LAYOUTS`, and the byte at which its rows begin.

    Both follow from its beginning, some hundred lines.

    Raises:
        HvcodError: The layout is not one of the known ones.
    """
    begin = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    lines = head[begin:].split(b"\n")[:_LINES_TRIED]
    if not any(lines):
        raise HvcodError(f"{name} is empty: no rows of the Criteo data in it")
    tabs = {line.count(b"\t") for line in lines}
    for index, layout in enumerate(LAYOUTS):
        if not layout.header and len(layout.names) - 1 in tabs:
            return index, begin
        if layout.header and lines[0].rstrip(b"\r") == ",".join(layout.names).encode():
            return index, begin + len(lines[0]) + 1
    raise HvcodError(f"{name} {_difference(lines[0])}")


def _difference(line: bytes) -> str:
    shown = line[:60].decode(errors="replace")
    known = "40 columns (39 without label) separated by tabs"
    if line.count(b",") >= INTEGERS + CATEGORIES:
        return (
            "has commas but not the header Id,Label,I1,...,I13,C1,...,C26 (the test set's lacks "
            f"Label) in line 1, which begins {shown!r}"
        )
    return f"has no rows of the Criteo data, {known} or a CSV with header; it begins {shown!r}"
