"""Rows of a file as one structured array, and what a file says of its rows.

Fields: ``id`` (int64, or UTF-8 bytes of a fixed length), ``prediction`` (float, or [classes] of
them), ``label`` (int64, -1 where it is not known), and ``slice`` (bytes) where slices are read.
A file of slices has no prediction and no label.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.void]

UNKNOWN = -1
"""Label of a row of which nobody knows what is right."""

VALUES_IN_BLOCK = 1 << 21
MOST_ROWS_IN_BLOCK = 1 << 16


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        ids: ``number``, ``text``, or ``row`` if it has none.
        classes: Predictions of a row; None for one number; 0 if the file has slices alone.
        labelled: Whether it has labels.
        sliced: Whether the wanted slices are in it.
        slices: Their names in the order in which they are shown, where that is known.
    """

    ids: str
    classes: int | None
    labelled: bool
    sliced: bool
    slices: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a file.

    Attributes:
        predictions: Whether it must have predictions; else slices.
        slice_column: The column of slices, if it has it.
        by_row: Ids do not count.
    """

    predictions: bool = True
    slice_column: str | None = None
    by_row: bool = False


class Source(Protocol):
    """An open file of predictions or slices.

    Attributes:
        name: How it is called in messages.
        contents: What it holds.
    """

    name: str
    contents: Contents

    def blocks(self) -> Iterator[Rows]:
        """All rows in order, once, some at a time."""
        ...


def rows_in_block(classes: int | None) -> int:
    """How many rows are read at a time."""
    return max(1, min(MOST_ROWS_IN_BLOCK, VALUES_IN_BLOCK // max(1, classes or 1)))


def make_rows(columns: Mapping[str, Array]) -> Rows:
    """Columns of equal length as rows."""
    first = next(iter(columns.values()))
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    rows = np.empty(len(first), dtype=kinds)
    for name, column in columns.items():
        rows[name] = column
    return rows


def whole_labels(name: str, labels: Array) -> Array:
    """Labels as integers: NaN becomes "not known".

    Raises:
        HvcodError: Some are no whole numbers.
    """
    known = ~np.isnan(labels)
    found = np.where(known, labels, -1)
    wrong = found != np.rint(found)
    if wrong.any():
        raise HvcodError(
            f"{name}: {found[wrong][0]:g} is no label; a label is the number of the right class"
        )
    return found.astype(np.int64)


def as_key(values: Array) -> Array:
    """Ids or slices as int64 or UTF-8 bytes."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind == "S":
        return values
    if values.dtype.kind == "f":
        return values.astype("S")
    return np.array([each if isinstance(each, bytes) else str(each).encode() for each in values])
