"""Predictions in HDF5: datasets ``id``, ``prediction`` and ``label``, as `hvcod predict` writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

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


class HDF5Source:
    """An HDF5 file of predictions, or of slices.

    Raises:
        HvcodError: The file cannot be read, lacks a wanted dataset, or its datasets do not match.
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.name = str(path)
        try:
            self._file = h5py.File(path, "r", locking=False)
        except OSError as error:
            raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
        self._columns = self._find(wanted)
        counts = {column.shape[0] for column in self._columns.values()}
        if len(counts) > 1:
            shown = ", ".join(f"{key} {column.shape[0]}" for key, column in self._columns.items())
            raise HvcodError(f"{path}: the datasets differ in length: {shown}")
        self._count = counts.pop()
        self.contents = self._contents()

    def _find(self, wanted: Wanted) -> dict[str, Any]:
        names = {"id": "id", "prediction": "prediction", "label": "label"}
        if not wanted.predictions:
            del names["prediction"], names["label"]
        if wanted.by_row:
            del names["id"]
        if wanted.slice_column:
            names["slice"] = wanted.slice_column
        columns = {}
        for column, name in names.items():
            dataset = self._file.get(name)
            if isinstance(dataset, h5py.Dataset) and dataset.ndim:
                columns[column] = dataset
        needed = "prediction" if wanted.predictions else "slice"
        if needed not in columns:
            shown = ", ".join(self._file) or "nothing"
            raise HvcodError(f"{self.name} has no dataset {names[needed]}; it has {shown}")
        return columns

    def _contents(self) -> Contents:
        ids = self._columns.get("id")
        kind = "row" if ids is None else "number" if ids.dtype.kind in "iu" else "text"
        if ids is not None and ids.dtype.kind not in "iuSO":
            raise HvcodError(f"{self.name}: ids of type {ids.dtype} are neither integers nor text")
        classes: int | None = 0
        if "prediction" in self._columns:
            shape = self._columns["prediction"].shape
            if len(shape) > 2:
                raise HvcodError(
                    f"{self.name}: predictions have shape {shape} instead of [rows] or "
                    "[rows, classes]"
                )
            classes = shape[1] if len(shape) == 2 and shape[1] > 1 else None
        return Contents(kind, classes, "label" in self._columns, "slice" in self._columns)

    def blocks(self) -> Iterator[Rows]:
        """Yields all rows in order, in blocks. Can be called once."""
        step = rows_in_block(self.contents.classes)
        with self._file:
            for start in range(0, self._count, step):
                yield self._rows(start, min(self._count, start + step))

    def _rows(self, start: int, stop: int) -> Rows:
        columns: dict[str, Array] = {"id": np.arange(start, stop)}
        try:
            for name, dataset in self._columns.items():
                columns[name] = self._values(name, dataset[start:stop])
        except OSError as error:
            raise HvcodError(f"cannot read {self.name}: {reason_of(error)}") from error
        return make_rows(columns)

    def _values(self, name: str, values: Array) -> Array:
        if name == "prediction":
            values = values if values.dtype.kind == "f" else values.astype(np.float64)
            wide = values if values.dtype.itemsize > 2 else values.astype(np.float32)
            return wide if self.contents.classes else wide.reshape(len(wide))
        if name == "label":
            return whole_labels(self.name, values.reshape(len(values)))
        return _key(values).astype(np.bytes_) if name == "slice" else _key(values)


def _key(values: Array) -> Array:
    """Ids or slices as int64 or UTF-8 bytes."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind == "S":
        return values
    if values.dtype.kind == "f":
        return values.astype("S")
    return np.array(
        [value if isinstance(value, bytes) else str(value).encode() for value in values]
    )
