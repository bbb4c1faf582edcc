"""Predictions in CSV: columns ``id,prediction[,label]``, or ``prediction_0``, ``prediction_1``, ...

Read by pyarrow, in blocks; a file that ends in .gz, .bz2, .zst or .lz4 is decompressed while it is
read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hvcod.churn.files.rows import (
    Array,
    Contents,
    Rows,
    Wanted,
    make_rows,
    rows_in_block,
    whole_labels,
)
from hvcod.errors import HvcodError, reason_of
from hvcod.evaluation.predictions import MOST_COLUMNS

BLOCK_BYTES = 1 << 20
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_NO_NUMBER = ["", "NA", "N/A", "NaN", "nan", "-nan", "null", "None"]


class CSVSource:
    """A CSV file of predictions, or of slices.

    Raises:
        HvcodError: The file cannot be read, or lacks a wanted column.
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.name = str(path)
        try:
            self._reader = csv.open_csv(
                _stream(path),
                csv.ReadOptions(block_size=BLOCK_BYTES),
                csv.ParseOptions(newlines_in_values=False),
                _conversion(wanted.slice_column),
            )
            self._batch = next(self._reader, None)
        except (OSError, pa.ArrowException) as error:
            raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
        self._names = self._find(wanted)
        self.contents = self._contents()

    def _contents(self) -> Contents:
        self._ids = "row"
        if "id" in self._names:
            text = self._batch is not None and _numbers(self._batch["id"]) is None
            self._ids = "text" if text else "number"
        classes: int | None = len(self._names.get("prediction", []))
        if classes == 1:
            classes = None
        return Contents(self._ids, classes, "label" in self._names, "slice" in self._names)

    def _find(self, wanted: Wanted) -> dict[str, list[str]]:
        header = self._reader.schema.names
        if twice := {name for name in header if header.count(name) > 1}:
            raise HvcodError(f"{self.name}: several columns have the name {sorted(twice)[0]}")
        names = {}
        if wanted.predictions:
            names["prediction"] = self._predictions(header)
            if "label" in header:
                names["label"] = ["label"]
        elif wanted.slice_column not in header:
            raise HvcodError(f"{self.name} has no column {wanted.slice_column}; it has {header}")
        if "id" in header and not wanted.by_row:
            names["id"] = ["id"]
        if wanted.slice_column in header:
            names["slice"] = [str(wanted.slice_column)]
        return names

    def _predictions(self, header: list[str]) -> list[str]:
        if "prediction" in header:
            return ["prediction"]
        several = [f"prediction_{number}" for number in range(MOST_COLUMNS)]
        names = [name for name in several if name in header]
        if not names or names != several[: len(names)]:
            raise HvcodError(
                f"{self.name} has neither a column prediction nor prediction_0, prediction_1, ...; "
                f"its first line is {', '.join(header[:10])}"
            )
        return names

    def blocks(self) -> Iterator[Rows]:
        """Yields all rows in order, in blocks. Can be called once."""
        start, step = 0, rows_in_block(self.contents.classes)
        with self._reader:
            while self._batch is not None:
                for begin in range(0, len(self._batch), step):
                    piece = self._batch.slice(begin, step)
                    yield self._rows(piece, start)
                    start += len(piece)
                try:
                    self._batch = next(self._reader, None)
                except (OSError, pa.ArrowException) as error:
                    raise HvcodError(f"cannot read {self.name}: {error}") from error

    def _rows(self, batch: Any, start: int) -> Rows:
        columns: dict[str, Array] = {"id": np.arange(start, start + len(batch))}
        if "id" in self._names:
            columns["id"] = self._keys(batch["id"], start)
        if "prediction" in self._names:
            values = [
                batch[name].to_numpy(zero_copy_only=False) for name in self._names["prediction"]
            ]
            columns["prediction"] = (
                np.stack(values, axis=1).astype(np.float32) if self.contents.classes else values[0]
            )
        if "label" in self._names:
            labels = batch["label"].to_numpy(zero_copy_only=False)
            if (labels < 0).any():
                raise HvcodError(
                    f"{self.name}: {labels.min():g} is not a label; classes are numbered from 0, "
                    "and unknown labels are left empty"
                )
            columns["label"] = whole_labels(self.name, labels)
        if "slice" in self._names:
            columns["slice"] = _text(batch[self._names["slice"][0]])
        return make_rows(columns)

    def _keys(self, column: Any, start: int) -> Array:
        if self._ids == "text":
            return _text(column)
        numbers = _numbers(column)
        if numbers is None:
            raise HvcodError(
                f"{self.name}: the first ids are numbers, but some between the rows {start + 1} "
                f"and {start + len(column)} are not; use only numbers or only text"
            )
        return numbers


def _stream(path: Path) -> Any:
    # Opened by Python, because pyarrow cannot read from a pipe.
    return pa.input_stream(path.open("rb"), compression=_COMPRESSIONS.get(path.suffix))


def _conversion(slice_column: str | None) -> csv.ConvertOptions:
    numbers = ["prediction", "label", *(f"prediction_{number}" for number in range(MOST_COLUMNS))]
    kinds = {name: pa.float64() for name in numbers}
    kinds |= {name: pa.string() for name in ("id", slice_column) if name}
    return csv.ConvertOptions(column_types=kinds, null_values=_NO_NUMBER, strings_can_be_null=False)


def _numbers(column: Any) -> Array | None:
    """Ids as int64; None if some are not whole numbers."""
    try:
        numbers: Array = pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return numbers


def _text(column: Any) -> Array:
    """Text as UTF-8 bytes of a fixed length."""
    return np.array(column.cast(pa.binary()).to_pylist(), dtype=np.bytes_)
