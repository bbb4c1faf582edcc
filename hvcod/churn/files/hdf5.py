"""Predictions in HDF5: datasets ``id``, ``prediction`` and ``label``, as `hvcod predict` writes.

A file may come from elsewhere, so libhdf5 must not follow it to other files: links that are not
hard, external storage and virtual datasets are refused.
"""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from hvcod.churn.files.columns import choose
from hvcod.churn.files.errors import read_errors
from hvcod.churn.files.labels import class_numbers
from hvcod.churn.files.rows import Array, Columns, Contents, Rows, Wanted, make_rows, rows_in_block
from hvcod.churn.files.text import LONGEST, fixed
from hvcod.errors import HvcodError

MOST_CLASSES = 1 << 22
MOST_CHUNK_BYTES = 1 << 30
"""libhdf5 takes as much memory to read a single row."""


_LONGEST_MEANING = 64 * 1024


class HDF5Source:
    """An HDF5 file of predictions, or of slices.

    Args:
        name: Its name in messages.
        file: It, open for reading.

    Raises:
        HvcodError: It cannot be read, lacks a wanted dataset, or its datasets do not match.
    """

    def __init__(self, name: str, file: h5py.File, wanted: Wanted) -> None:
        self.name, self._file, self._wanted = name, file, wanted
        with read_errors(name):
            header = _names(file)
        columns = choose(name, header, wanted, "dataset")
        with read_errors(name):
            self._datasets = {column: self._dataset(column) for column in columns.names}
        counts = {column: dataset.shape[0] for column, dataset in self._datasets.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{column} {count}" for column, count in counts.items())
            raise HvcodError(f"{name}: the datasets differ in length: {shown}")
        self._count = next(iter(counts.values()))
        with read_errors(name):
            meaning = _meaning(file)
        classes = self._classes(columns)
        self.contents = Contents(self._ids(columns), classes, columns, meaning=meaning)

    def _dataset(self, name: str) -> Any:
        link, dataset = self._file.get(name, getlink=True), None
        if isinstance(link, h5py.HardLink):
            dataset = self._file[name]
        if not isinstance(dataset, h5py.Dataset) or not dataset.ndim:
            kind = type(link if dataset is None else dataset).__name__
            raise HvcodError(f"{self.name}: {name} is no dataset of rows, but a {kind}")
        # Looked at before anything is read: these would make libhdf5 open other files.
        if dataset.is_virtual or dataset.external:
            raise HvcodError(f"{self.name}: the values of {name} are in other files")
        chunk = dataset.dtype.itemsize * int(np.prod(dataset.chunks or [0]))
        if chunk > MOST_CHUNK_BYTES:
            raise HvcodError(f"{self.name}: {name} is stored in chunks of {chunk:,} bytes")
        if dataset.size and not dataset.id.get_storage_size():
            raise HvcodError(f"{self.name}: no values were ever written into {name}")
        return dataset

    def _ids(self, columns: Columns) -> str:
        if columns.id is None:
            return "row"
        dataset = self._datasets[columns.id]
        self._check_single(columns.id)
        kind = dataset.dtype.kind
        if kind not in "iufSO" or (kind == "O" and not h5py.check_string_dtype(dataset.dtype)):
            raise HvcodError(
                f"{self.name}: ids of type {dataset.dtype} are neither integers nor text"
            )
        if kind == "u" and dataset.dtype.itemsize == 8:
            return "text"
        return {"i": "number", "u": "number", "f": "float"}.get(kind, "text")

    def _classes(self, columns: Columns) -> int | None:
        for name in filter(None, (columns.label, columns.slice)):
            self._check_single(name)
        if not columns.prediction:
            return 0
        widths = [self._width(name) for name in columns.prediction]
        if len(widths) > 1 and set(widths) != {1}:
            raise HvcodError(f"{self.name}: several datasets of predictions must each be [rows]")
        return len(widths) if len(widths) > 1 else widths[0] if widths[0] > 1 else None

    def _check_single(self, name: str) -> None:
        if int(np.prod(self._datasets[name].shape[1:])) != 1:
            raise HvcodError(
                f"{self.name}: {name} has shape {self._datasets[name].shape} instead of [rows]"
            )

    def _width(self, name: str) -> int:
        dataset = self._datasets[name]
        if dataset.dtype.kind not in "fiub":
            raise HvcodError(f"{self.name}: {name} is of type {dataset.dtype}, not numbers")
        shape = dataset.shape
        if len(shape) > 2 or (len(shape) == 2 and not 1 <= shape[1] <= MOST_CLASSES):
            raise HvcodError(
                f"{self.name}: {name} has shape {shape} instead of [rows] or [rows, classes], 1 to "
                f"{MOST_CLASSES:,} classes"
            )
        return int(shape[1]) if len(shape) == 2 else 1

    def blocks(self) -> Iterator[Rows]:
        """Yields all rows in order, in blocks. Can be called once."""
        texts = (each.dtype.itemsize for each in self._datasets.values() if each.dtype.kind == "S")
        step = rows_in_block(self.contents.classes, sum(texts))
        for start in range(0, self._count, step):
            with read_errors(self.name):
                rows = self._rows(start, min(self._count, start + step))
            yield rows

    def _rows(self, start: int, stop: int) -> Rows:
        read = {name: dataset[start:stop] for name, dataset in self._datasets.items()}
        chosen = self.contents.columns
        columns: dict[str, Array] = {"id": np.arange(start, stop)}
        if chosen.id is not None:
            columns["id"] = _keys(read[chosen.id])
        if len(chosen.prediction) > 1:
            singles = [read[name].reshape(stop - start) for name in chosen.prediction]
            columns["prediction"] = np.stack(singles, axis=1).astype(np.float32)
        elif chosen.prediction:
            values = _floats(read[chosen.prediction[0]])
            columns["prediction"] = values if self.contents.classes else values.reshape(len(values))
        if chosen.label is not None:
            labels = read[chosen.label].reshape(stop - start)
            labels = _keys(labels) if labels.dtype.kind in "SO" else labels
            columns["label"] = class_numbers(self.name, labels, self._wanted.classes)
        if chosen.slice is not None:
            columns["slice"] = _keys(read[chosen.slice]).astype(np.bytes_)
        return make_rows(columns)


def _meaning(file: h5py.File) -> str:
    """The meaning of the classes that `hvcod predict` has noted; empty if there is none."""
    if "meaning" not in file.attrs:
        return ""
    kind = file.attrs.get_id("meaning").dtype
    if kind.kind != "S" or kind.itemsize > _LONGEST_MEANING:
        return ""
    return bytes(file.attrs["meaning"]).decode(errors="replace")


def _names(file: h5py.File) -> list[str]:
    """All names at the top, and the datasets in groups; links to other files are not followed."""
    inner: list[str] = []

    def visit(name: str, item: Any) -> None:
        if "/" in name and isinstance(item, h5py.Dataset):
            inner.append(name)

    file.visititems(visit)
    groups = {name.partition("/")[0] for name in inner}
    return [*(name for name in file if name not in groups), *inner]


def _floats(values: Array) -> Array:
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values if values.dtype.itemsize > 2 else values.astype(np.float32)


def _keys(values: Array) -> Array:
    """Ids or slices as integers, floats or UTF-8 bytes, [N]."""
    values = values.reshape(len(values))
    if values.dtype.kind in "iuf":
        return values
    if values.dtype.kind == "S" and values.dtype.itemsize <= LONGEST:
        return values
    return fixed(
        [value if isinstance(value, bytes) else str(value).encode() for value in values.tolist()]
    )
