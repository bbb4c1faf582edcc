"""Predictions in tables that pyarrow reads: CSV, Parquet, Arrow."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hvcod.churn.files.columns import choose
from hvcod.churn.files.errors import read_errors
from hvcod.churn.files.labels import class_numbers
from hvcod.churn.files.rows import Array, Columns, Contents, Rows, Wanted, make_rows, rows_in_block
from hvcod.churn.files.text import fixed
from hvcod.errors import HvcodError

_NUMBERS = (
    *(pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal),
    pa.types.is_null,
)


class Table(Protocol):
    """An open table."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its columns."""
        ...

    @property
    def meaning(self) -> str:
        """The meaning of the classes that ``hvcod predict`` has noted; empty if there is none."""
        ...

    def kind(self, name: str) -> Any:
        """Returns the type of a column, a DataType of pyarrow."""
        ...

    def batches(self, columns: Columns) -> Iterator[Any]:
        """Yields record batches with these columns. Raises OSError and pa.ArrowException."""
        ...


class TableSource:
    """A table of predictions, or of slices.

    Args:
        name: Its name in messages.

    Raises:
        HvcodError: A wanted column is missing, or has a wrong type.
    """

    def __init__(self, name: str, table: Table, wanted: Wanted) -> None:
        self.name, self._wanted = name, wanted
        columns = self._columns = choose(name, table.names, wanted)
        ids = "row" if columns.id is None else self._ids(table.kind(columns.id))
        self._batches = table.batches(columns)
        self.contents = Contents(ids, self._classes(table), columns, meaning=table.meaning)

    def _ids(self, kind: Any) -> str:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
            raise HvcodError(f"{self.name}: ids of type {kind} are neither integers nor text")
        if pa.types.is_floating(kind):
            return "float"
        return "number" if pa.types.is_integer(kind) and kind != pa.uint64() else "text"

    def _classes(self, table: Table) -> int | None:
        names = self._columns.prediction
        if len(names) != 1:
            return len(names)
        kind = table.kind(names[0])
        if not _is_list(kind) and not _is_vector(kind):
            return None
        first = self._next()
        if first is None:
            return None
        self._batches = itertools.chain([first], self._batches)
        width = pc.max(pc.list_value_length(_plain(first[names[0]]))).as_py() or 0
        return width if width > 1 else None

    def blocks(self) -> Iterator[Rows]:
        """Yields all rows in order, in blocks. Can be called once."""
        start, step = 0, rows_in_block(self.contents.classes)
        while (batch := self._next()) is not None:
            for begin in range(0, len(batch), step):
                piece = batch.slice(begin, step)
                with read_errors(self.name):
                    rows = self._rows(piece, start)
                yield rows
                start += len(piece)

    def _next(self) -> Any:
        with read_errors(self.name):
            return next(self._batches, None)

    def _rows(self, batch: Any, start: int) -> Rows:
        chosen = self._columns
        columns: dict[str, Array] = {"id": np.arange(start, start + len(batch))}
        if chosen.id is not None:
            columns["id"] = _keys(batch[chosen.id])
        if chosen.prediction:
            values = [self._numbers(batch, name) for name in chosen.prediction]
            several = len(values) > 1
            columns["prediction"] = np.stack(values, 1).astype("f4") if several else values[0]
        if chosen.label is not None:
            labels = _values(batch[chosen.label])
            columns["label"] = class_numbers(self.name, labels, self._wanted.classes)
        if chosen.slice is not None:
            columns["slice"] = _text(batch[chosen.slice])
        return make_rows(columns)

    def _numbers(self, batch: Any, name: str) -> Array:
        column = batch[name]
        if _is_vector(column.type):
            dense = pc.equal(pc.struct_field(column, "type"), 1)
            if column.null_count or not pc.all(dense).as_py():
                raise HvcodError(f"{self.name}: some vectors in the column {name} are sparse")
        column = _plain(column)
        if _is_list(column.type):
            return self._matrix(name, column)
        if not any(is_kind(column.type) for is_kind in _NUMBERS):
            raise HvcodError(f"{self.name}: the column {name} is {column.type}, not numbers")
        if not pa.types.is_float32(column.type):
            column = column.cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _matrix(self, name: str, column: Any) -> Array:
        width, values = self.contents.classes or 1, pc.list_flatten(column)
        wrong = (
            column.null_count or not pc.all(pc.equal(pc.list_value_length(column), width)).as_py()
        )
        if wrong or not pa.types.is_floating(values.type):
            raise HvcodError(f"{self.name}: the column {name} does not hold {width} numbers a row")
        matrix = values.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
        return np.asarray(matrix.reshape(-1, width) if self.contents.classes else matrix)


def _is_list(kind: Any) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in lists)


def _is_vector(kind: Any) -> bool:
    """True for the type of Spark's vectors, such as its column ``probability``."""
    names = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    return {"type", "values"} <= names


def _plain(column: Any) -> Any:
    """A column as plain values, or as lists."""
    if _is_vector(column.type):
        return pc.struct_field(column, "values")
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _keys(column: Any) -> Array:
    """Ids as integers, floats or text; a missing one is NaN or empty text."""
    column = _plain(column)
    if pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    if pa.types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return _text(column)


def _values(column: Any) -> Array:
    """Labels as integers, floats, truth values or text; unknown ones are NaN or empty text."""
    column = _plain(column)
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if number and column.null_count:
        column = column.cast(pa.float64())
    if number or (pa.types.is_boolean(column.type) and not column.null_count):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return _text(column)


def _text(column: Any) -> Array:
    column = _plain(column)
    if pa.types.is_fixed_size_binary(column.type):  # UUIDs and digests
        return fixed(
            [b"" if value is None else value.hex().encode() for value in column.to_pylist()]
        )
    if not pa.types.is_binary(column.type):
        column = column.cast(pa.string())
    return fixed(pc.fill_null(column.cast(pa.binary()), b"").to_pylist())
