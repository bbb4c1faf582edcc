"""Prepared data on disk: a description and HDF5 files of columns.

A dataset is a folder with a ``dataset.json``, which is written last and describes the rest, and
with files of columns. A column is one contiguous array whose first dimension counts its rows; its
name may begin with a group, such as ``training/tokens``. A file is built in memory and its bytes
follow from its columns alone: no times, no paths. libhdf5 only says where the columns lie; their
values are then read from the file directly, which any number of threads can do at once.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, reason_of
from hvcod.files.regular import open_regular
from hvcod.tasks.files import read_json
from hvcod.tasks.reading.files import readable

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class DataFormat:
    """The format of one task's data, which the description and every shard name."""

    name: str  # such as ``hvcod-tokens``
    version: int  # raised by a change after which older data cannot be read
    command: str  # prepares such data; for messages

    def attributes(self) -> dict[str, Any]:
        """Returns the attributes of a file, which are also the first fields of a description."""
        return {"format": self.name, "version": self.version}


@contextlib.contextmanager
def described(folder: Path, data_format: DataFormat) -> Iterator[dict[str, Any]]:
    """Yields the description of a dataset; errors about its fields become one line.

    Raises:
        HvcodError: The folder holds no dataset, a damaged one or one of another format.
    """
    path = folder / "dataset.json"
    with readable(folder):
        finished = path.is_file()
    if not finished:
        raise HvcodError(f"{folder} holds no finished data of `{data_format.command}`")
    content = read_json(path)
    try:
        if (content["format"], content["version"]) != (data_format.name, data_format.version):
            raise HvcodError(f"{folder} holds data of another format than this hvcod reads")
        yield content
    except (KeyError, TypeError, ValueError) as error:
        raise HvcodError(f"{path} is damaged: {error!r}") from error


def image(columns: Mapping[str, Array], data_format: DataFormat | None = None) -> bytes:
    """Returns the bytes of an HDF5 file of columns, little-endian."""
    with h5py.File("columns", "w", driver="core", backing_store=False) as file:
        file.attrs.update(data_format.attributes() if data_format else {})
        for name, column in columns.items():
            stored = column.dtype.newbyteorder("<")
            file.create_dataset(name, data=column.astype(stored, copy=False))
        file.flush()
        content: bytes = file.id.get_file_image()
    return content


def fingerprint(columns: Mapping[str, Array]) -> str:
    """Returns a digest of the names, types, shapes and values of columns, however they are stored.

    It tells whether data have been replaced; it takes about a second a gigabyte.
    """
    content = hashlib.sha256()
    for name, column in sorted(columns.items()):
        stored = column.astype(column.dtype.newbyteorder("<"), copy=False)
        content.update(f"{name} {stored.dtype.str} {stored.shape}\n".encode())
        content.update(np.ascontiguousarray(stored).data)
    return content.hexdigest()


def lines(texts: Sequence[str]) -> Array:
    """Returns texts as a column of bytes: UTF-8 with a line feed behind each."""
    return np.frombuffer("".join(f"{text}\n" for text in texts).encode(), dtype=np.uint8)


class _Column(NamedTuple):
    begin: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Columns:
    """One open file of columns, whose rows are read when they are asked for; safe in any thread.

    Raises:
        HvcodError: The file cannot be read or is of another format.
    """

    def __init__(self, path: Path, data_format: DataFormat | None = None) -> None:
        self._path = path
        self._columns: dict[str, _Column] = {}
        try:
            # Opened first, which does not wait if the file is a pipe.
            self._file = open_regular(path, follow=True)
            with h5py.File(path, "r", locking=False) as file:
                expected = data_format.attributes() if data_format else {}
                if any(file.attrs.get(key) != value for key, value in expected.items()):
                    raise ValueError("not of the format {format} {version}".format(**expected))
                file.visititems(self._note)
        except (OSError, HvcodError, KeyError, ValueError) as error:
            raise HvcodError(f"cannot read {path}: {error}; prepare the data again") from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Returns rows of a column, read-only; all of them unless a range is given.

        Raises:
            HvcodError: The file has no such column, or ends too early.
        """
        column = self._column(name)
        stop = column.shape[0] if stop is None else stop
        values = np.frombuffer(self.read_bytes(name, start, stop), dtype=column.dtype)
        return values.reshape(stop - start, *column.shape[1:])

    def rows(self, name: str) -> int:
        """Returns the number of rows of a column."""
        return int(self._column(name).shape[0])

    def read_lines(self, name: str) -> list[str]:
        """Returns the texts of a column that `lines` made."""
        return self.read(name).tobytes().decode().split("\n")[:-1]

    def read_bytes(self, name: str, start: int, stop: int) -> bytes:
        """Returns the bytes of rows of a column.

        Raises:
            HvcodError: The file has no such column, or ends too early.
        """
        column = self._column(name)
        row_bytes = column.dtype.itemsize * math.prod(column.shape[1:])
        begin, size = column.begin + start * row_bytes, (stop - start) * row_bytes
        try:
            content = os.pread(self._file.fileno(), size, begin)
            # Linux gives at most 2 GiB at once.
            while more := os.pread(self._file.fileno(), size - len(content), begin + len(content)):
                content += more
        except OSError as error:
            raise HvcodError(f"cannot read {self._path}: {reason_of(error)}") from error
        if len(content) < size or stop > column.shape[0]:
            raise HvcodError(f"{self._path} is cut off; prepare the data again")
        return content

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            raise HvcodError(f"{self._path} has no {name}; prepare the data again")
        return self._columns[name]

    def _note(self, name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            begin = item.id.get_offset()
            if item.dtype.hasobject or (begin is None and item.size):
                raise ValueError(f"{name} is not one contiguous array of numbers")
            self._columns[name] = _Column(begin or 0, item.dtype, item.shape)
