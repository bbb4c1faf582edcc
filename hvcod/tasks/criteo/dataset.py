"""Prepared rows: features in HDF5, in the order of the input.

A dataset is a folder::

    dataset.json       format, counts, parts, shards: everything but the rows
    features.h5        categories with ids of their own and scales (`hvcod.tasks.criteo.features`)
    report.json        what was read and what was malformed
    shards/00003.h5    rows of one piece of an input:
                       integers       float32 [rows, 13], NaN where missing
                       categories     int32 [rows, 26], rows of the table of embeddings
                       labels         int8 [rows]: 1 click, 0 none, -1 unknown
                       ids            int64 [rows]: the Id column, else the line over all inputs
                       probabilities  float32 [rows], of a click, where it is known (generated rows)

A part (training, validation, test) is a range of rows. The bytes depend on the inputs and options
alone: no times, no paths, no ranks.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.tasks.files import read_json
from hvcod.tasks.reading.files import readable

FORMAT, VERSION = "hvcod-criteo", 1
PARTS = ("training", "validation", "test")
OPEN_SHARDS = 256
"""Shards whose files stay open."""

Array = npt.NDArray[Any]


class Examples(NamedTuple):
    """What the model reads and should say, row by row; see the module."""

    integers: Array
    categories: Array
    labels: Array


def shard_image(columns: Mapping[str, Array]) -> bytes:
    """A shard as the bytes of an HDF5 file."""
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        file.attrs.update(format=FORMAT, version=VERSION)
        for name, column in columns.items():
            file.create_dataset(name, data=column.astype(column.dtype.newbyteorder("<")))
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


@dataclass(frozen=True)
class _Column:
    """Where a column lies in a file, as HDF5 stores it: in one stretch."""

    begin: int
    dtype: np.dtype[Any]
    width: int


class Shard:
    """An open shard; its rows are read from the file when they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with h5py.File(path, "r", locking=False) as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                    raise HvcodError(f"{path} is not a shard of Criteo rows of version {VERSION}")
                self._columns = {
                    name: _Column(
                        column.id.get_offset() or 0, column.dtype, int(np.prod(column.shape[1:]))
                    )
                    for name, column in file.items()
                }
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise HvcodError(f"cannot read {path}: {error}; prepare the data again") from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Rows of a column, read-only.

        Raises:
            HvcodError: The shard has no such column, or is cut off.
        """
        if name not in self._columns:
            raise HvcodError(f"{self._path} has no {name}; prepare the data again")
        column = self._columns[name]
        row = column.dtype.itemsize * column.width
        data = os.pread(self._file, (stop - start) * row, column.begin + start * row)
        if len(data) != (stop - start) * row:
            raise HvcodError(f"{self._path} is cut off; prepare the data again")
        values = np.frombuffer(data, dtype=column.dtype)
        return values.reshape(-1, column.width) if column.width > 1 else values


class ClickDataset:
    """A prepared dataset; opening it reads ``dataset.json`` and nothing else.

    Attributes:
        folder: Where it lies.
        table_rows: Rows of the table of embeddings, over all features.
        parts: The range of rows of each part.
        click_rate: Share of clicks in the rows that the features were learned from.
        generated: Whether the true probabilities are known.

    Raises:
        HvcodError: The folder holds no dataset, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with readable(folder):
            finished = (folder / "dataset.json").is_file()
        if not finished:
            raise HvcodError(f"{folder} holds no finished data of `hvcod data criteo`")
        content = read_json(folder / "dataset.json")
        try:
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise HvcodError(f"{folder} holds data of another format than this hvcod reads")
            self.table_rows: int = content["table_rows"]
            self.click_rate: float = content["click_rate"]
            self.generated: bool = content["generated"]
            self.parts = {name: range(*content["parts"][name]) for name in PARTS}
            self._files: list[str] = [file for file, _ in content["shards"]]
            rows = [count for _, count in content["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise HvcodError(f"{folder / 'dataset.json'} is damaged: {error!r}") from error
        self._ends = np.cumsum([0, *rows])
        self._shard = lru_cache(OPEN_SHARDS)(self._open)

    def _open(self, index: int) -> Shard:
        return Shard(self.folder / self._files[index])

    def part(self, name: str) -> range:
        """The rows of a part.

        Raises:
            HvcodError: The data have no such part, or it is empty.
        """
        if not self.parts.get(name):
            there = [f"{part} ({len(rows):,} rows)" for part, rows in self.parts.items() if rows]
            raise HvcodError(
                f"{self.folder} has no rows in the part {name}; it has {', '.join(there)}"
            )
        return self.parts[name]

    def column(self, name: str, start: int, stop: int) -> Array:
        """Rows of one column; they may lie in several shards."""
        found, index = [], int(np.searchsorted(self._ends, start, side="right")) - 1
        while start < stop:
            begin, end = int(self._ends[index]), min(stop, int(self._ends[index + 1]))
            found.append(self._shard(index).read(name, start - begin, end - begin))
            start, index = end, index + 1
        return found[0] if len(found) == 1 else np.concatenate(found)

    def examples(self, start: int, stop: int) -> Examples:
        """Rows as the model reads them."""
        return Examples(*(self.column(name, start, stop) for name in Examples._fields))


def describe(
    shards: Sequence[tuple[str, int]], parts: Mapping[str, tuple[int, int]], **more: Any
) -> dict[str, Any]:
    """The content of ``dataset.json``."""
    return {
        "format": FORMAT,
        "version": VERSION,
        **more,
        "parts": {name: list(parts[name]) for name in PARTS},
        "shards": [list(shard) for shard in shards],
    }
