"""Rows of a file as a structured array, and the description of a file.

Fields: ``id`` (int64, or UTF-8 bytes of a fixed length), ``prediction`` (float, or [classes] of
them), ``label`` (int64, -1 where it is unknown), and ``slice`` (bytes) where slices are read.
A file of slices has neither predictions nor labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.void]

VALUES_IN_BLOCK = 1 << 21
MOST_ROWS_IN_BLOCK = 1 << 16


@dataclass(frozen=True)
class Columns:
    """The names of the columns (in HDF5: datasets) that are read from a file.

    Attributes:
        prediction: One name, or one for each class; empty for a file of slices.
        id, label, slice: None without such a column.
        others: The columns that are not read.
    """

    prediction: Sequence[str] = ()
    id: str | None = None
    label: str | None = None
    slice: str | None = None
    others: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """All columns that are read."""
        single = [name for name in (self.id, self.label, self.slice) if name is not None]
        return [*self.prediction, *single]


@dataclass(frozen=True)
class Contents:
    """The contents of a file.

    Attributes:
        ids: ``number`` (int64), ``text``, ``float``, or ``row`` if it has no ids.
        classes: The number of classes; None for a single number per row; 0 if the file only has
            slices.
        columns: The columns that are read.
        slices: The names of the slices in the order in which they are shown, if that is known.
        meaning: Of the classes, if the file names it (`hvcod.tensorfile.meaning`).
    """

    ids: str
    classes: int | None
    columns: Columns
    slices: Sequence[str] = ()
    meaning: str = ""

    @property
    def labelled(self) -> bool:
        """True if it has labels."""
        return self.columns.label is not None

    @property
    def sliced(self) -> bool:
        """True if it has the wanted slices."""
        return self.columns.slice is not None


@dataclass(frozen=True)
class Wanted:
    """The columns to read from a file.

    Attributes:
        predictions: Whether to read predictions, which then must exist; otherwise slices must.
        slice_column: The column of slices; read if it exists.
        by_row: Whether to ignore ids.
        id_column: The column of the ids; None for ``id``. Of several names with ``|`` between them
            the first that a file has.
        prediction_column: The column of the predictions, or those of all classes; None for
            ``prediction``, or ``prediction_0``, ``prediction_1``, ...; several as with ids.
        labels: Whether to read labels.
        classes: The labels that stand for class 0, 1, ...; None if labels are numbers.
    """

    predictions: bool = True
    slice_column: str | None = None
    by_row: bool = False
    id_column: str | None = None
    prediction_column: str | None = None
    labels: bool = True
    classes: str | None = None


class Source(Protocol):
    """An open file of predictions or slices, and its name in messages."""

    name: str
    contents: Contents

    def blocks(self) -> Iterator[Rows]:
        """Yields all rows in order, in blocks. Can be called once.

        Ids may be integers of any type, floats or text; `hvcod.churn.files.ids` makes them alike.
        """
        ...


def rows_in_block(classes: int | None, row_bytes: int = 0) -> int:
    """Returns the number of rows in a block, also bounded by the bytes of its text in a row."""
    values = max(classes or 1, row_bytes // 8, 1)
    return max(1, min(MOST_ROWS_IN_BLOCK, VALUES_IN_BLOCK // values))


def make_rows(columns: Mapping[str, Array]) -> Rows:
    """Returns columns of equal length as rows."""
    first = next(iter(columns.values()))
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    rows = np.empty(len(first), dtype=kinds)
    for name, column in columns.items():
        rows[name] = column
    return rows


def with_ids(rows: Rows, ids: Array) -> Rows:
    """Returns rows with other ids, which may have another type."""
    names = rows.dtype.names or ()
    return make_rows({name: ids if name == "id" else np.asarray(rows[name]) for name in names})
