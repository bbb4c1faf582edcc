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

from hvcod.errors import HvcodError

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.void]

VALUES_IN_BLOCK = 1 << 21
MOST_ROWS_IN_BLOCK = 1 << 16


@dataclass(frozen=True)
class Contents:
    """The contents of a file.

    Attributes:
        ids: ``number``, ``text``, or ``row`` if it has no ids.
        classes: The number of classes; None for a single number per row; 0 if the file only has
            slices.
        sliced: Whether it has the wanted slices.
        slices: The names of the slices in the order in which they are shown, if that is known.
    """

    ids: str
    classes: int | None
    labelled: bool
    sliced: bool
    slices: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """The columns to read from a file.

    Attributes:
        predictions: Whether to read predictions, which then must exist; otherwise slices must.
        slice_column: The column of slices; read if it exists.
        by_row: Whether to ignore ids.
    """

    predictions: bool = True
    slice_column: str | None = None
    by_row: bool = False


class Source(Protocol):
    """An open file of predictions or slices, and its name in messages."""

    name: str
    contents: Contents

    def blocks(self) -> Iterator[Rows]:
        """Yields all rows in order, in blocks. Can be called once."""
        ...


def rows_in_block(classes: int | None) -> int:
    """Returns the number of rows in a block."""
    return max(1, min(MOST_ROWS_IN_BLOCK, VALUES_IN_BLOCK // max(1, classes or 1)))


def make_rows(columns: Mapping[str, Array]) -> Rows:
    """Returns columns of equal length as rows."""
    first = next(iter(columns.values()))
    kinds = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    rows = np.empty(len(first), dtype=kinds)
    for name, column in columns.items():
        rows[name] = column
    return rows


def whole_labels(name: str, labels: Array) -> Array:
    """Returns labels as integers; NaN becomes -1, an unknown label.

    Raises:
        HvcodError: Some are not whole numbers.
    """
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64)
    filled = np.where(np.isnan(labels), -1, labels)
    wrong = filled != np.rint(filled)
    if wrong.any():
        raise HvcodError(
            f"{name}: {filled[wrong][0]:g} is not a label; a label is the number of the right class"
        )
    return filled.astype(np.int64)
