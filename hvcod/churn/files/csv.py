"""Predictions in CSV, read by pyarrow in blocks.

The first line holds the names of the columns. It shows how they are divided: by commas, semicolons,
tabs or bars, or by single blanks if by none of these. Numbers may have decimal commas, if these do
not divide columns or the cells are quoted.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import csv as pa_csv

from hvcod.churn.files.rows import Columns
from hvcod.errors import HvcodError

BLOCK_BYTES = 1 << 20
HEAD_BYTES = 1 << 20
"""The bytes from the beginning of a file that show what it is, its first line among them."""

_NO_NUMBER = ["", "NA", "N/A", "NaN", "nan", "-nan", "null", "None"]
_DELIMITERS = (",", "\t", ";", "|")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_ROWS_FOR_DECIMALS = 100


class CSVTable:
    """A CSV file.

    Args:
        file: Its name in messages.
        head: Its first `HEAD_BYTES`, or all of it.
        stream: All of it, decompressed.

    Raises:
        HvcodError: It is no text, or has no first line.
    """

    meaning = ""

    def __init__(self, file: str, head: bytes, stream: BinaryIO) -> None:
        self._file, self._stream = file, stream
        self._encoding = "utf-16" if head.startswith(_UTF16) else "utf-8-sig"
        if self._encoding != "utf-16" and b"\0" in head:
            raise HvcodError(f"{file} is neither CSV, Parquet, Arrow nor HDF5")
        lines = re.split(r"\r\n|\r|\n", head.decode(self._encoding, "replace"))
        if not lines[0].strip():
            raise HvcodError(f"{file}: the first line is empty, which must name the columns")
        if len(lines) == 1 and len(head) == HEAD_BYTES:
            raise HvcodError(f"{file}: its first line is longer than {HEAD_BYTES:,} bytes")
        # The most columns win, and a comma in doubt.
        self._delimiter = max(_DELIMITERS, key=lambda mark: len(_cells(lines[0], mark)))
        if len(_cells(lines[0], self._delimiter)) == 1 and " " in lines[0].strip():
            self._delimiter = " "
        self.names = [name.strip() for name in _cells(lines[0], self._delimiter)]
        self._rows = [_cells(line, self._delimiter) for line in lines[1 : _ROWS_FOR_DECIMALS + 1]]

    def _decimal_point(self, predictions: Sequence[str]) -> str:
        numbers = [self.names.index(name) for name in predictions]
        cells = [row[number] for row in self._rows for number in numbers if number < len(row)]
        return "," if any(re.fullmatch(r"\s*[+-]?\d*,\d+\s*", cell) for cell in cells) else "."

    def kind(self, name: str) -> Any:
        """Returns the type of a column of ids: text."""
        return pa.string()

    def batches(self, columns: Columns) -> Iterator[Any]:
        """Yields record batches with these columns: predictions as numbers, others as text.

        Raises OSError and pa.ArrowException.
        """
        texts = [name for name in (columns.id, columns.label, columns.slice) if name is not None]
        kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(columns.prediction, pa.float64())
        encoding = "utf-16" if self._encoding == "utf-16" else "utf8"
        reader = pa_csv.open_csv(
            pa.PythonFile(self._stream, "r"),
            pa_csv.ReadOptions(
                block_size=BLOCK_BYTES, column_names=self.names, skip_rows=1, encoding=encoding
            ),
            pa_csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=False,
                ignore_empty_lines=len(self.names) > 1,  # else a missing value, which moves no row
            ),
            pa_csv.ConvertOptions(
                column_types=kinds,
                include_columns=columns.names,
                null_values=_NO_NUMBER,
                strings_can_be_null=False,
                decimal_point=self._decimal_point(columns.prediction),
            ),
        )
        with reader:
            yield from reader


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a cell that is too long to be a name or a number
        return [line]
