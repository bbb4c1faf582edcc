"""Opens a file of predictions by its content; its name does not matter."""

import contextlib
import lzma
import os
import shutil
import stat
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import h5py
import pyarrow as pa

from hvcod.churn.files.arrow import ArrowTable, ParquetTable
from hvcod.churn.files.csv import HEAD_BYTES, CSVTable
from hvcod.churn.files.errors import read_errors
from hvcod.churn.files.frequencies import FrequencySource
from hvcod.churn.files.hdf5 import HDF5Source
from hvcod.churn.files.parts import PartsSource
from hvcod.churn.files.rows import Source, Wanted
from hvcod.churn.files.table import Table, TableSource
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.reading.files import readable

PIPE_SECONDS = 10.0
"""The time within which a process must open a pipe for writing; then it may take any time."""

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)},
    b"\x04\x22\x4d\x18": "lz4",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_OTHERS = {
    b"PK\x03\x04": "a zip archive, such as .npz or .xlsx",
    b"\x93NUMPY": "an array of NumPy",
    b"\x80": "a pickle",
    b"ORC": "ORC",
    b"SQLite": "a database of SQLite",
    b"{": "JSON",
    b"[": "JSON",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
}
_ADVICE = "write predictions as CSV, Parquet, Arrow or HDF5"


def open_source(path: Path, wanted: Wanted, closing: contextlib.ExitStack) -> Source:
    """Opens a file of predictions or slices: CSV, Parquet, Arrow or HDF5, compressed or not.

    A pipe is first copied to a temporary file. The files in a folder count as one. For slices,
    a folder is one of prepared Criteo data.

    Args:
        closing: Closes the files once they have been read.

    Raises:
        UsageError: There is no such file.
        HvcodError: It cannot be read, or lacks wanted columns.
    """
    check_exists(path)
    with readable(path):
        folder = path.is_dir()
    if folder:
        opener = partial(_open_part, wanted=wanted)
        return PartsSource(path, opener) if wanted.predictions else FrequencySource(path)
    with read_errors(str(path)):
        return _opened(path, _file_of(path, closing), wanted, closing)


def check_exists(path: Path) -> None:
    """Raises UsageError if there is no such file or folder, HvcodError if it cannot be reached."""
    with readable(path):
        if not path.exists():
            raise UsageError(f"{path}: no such file of predictions")


def _open_part(path: Path, closing: contextlib.ExitStack, wanted: Wanted) -> Source:
    return open_source(path, wanted, closing)


def _file_of(path: Path, closing: contextlib.ExitStack) -> BinaryIO:
    """The bytes of a file, or of a pipe, where one can seek."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = closing.enter_context(os.fdopen(descriptor, "rb"))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return file
    if stat.S_ISFIFO(mode):
        return _spooled(file, closing, _first_of_pipe(descriptor, path))
    raise UsageError(f"{path} is neither a file nor a pipe")


def _first_of_pipe(descriptor: int, path: Path) -> bytes:
    """Waits until a process has opened a pipe for writing; returns what has come by then."""
    end = time.monotonic() + PIPE_SECONDS
    first = b""
    while not first:
        try:
            first = os.read(descriptor, 1 << 16)
        except BlockingIOError:  # there is a writer, which has not written yet
            break
        if not first and time.monotonic() > end:
            raise UsageError(f"{path} is a pipe into which no process writes")
        if not first:
            time.sleep(0.01)
    os.set_blocking(descriptor, True)
    return first


def _spooled(stream: BinaryIO, closing: contextlib.ExitStack, first: bytes = b"") -> BinaryIO:
    """A temporary file with the rest of a stream, after some bytes that were read already."""
    with contextlib.ExitStack() as unfinished:
        copy = unfinished.enter_context(tempfile.TemporaryFile(prefix="hvcod-churn-"))
        copy.write(first)
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        closing.push(unfinished.pop_all())
        return cast(BinaryIO, copy)


def _opened(path: Path, file: BinaryIO, wanted: Wanted, closing: contextlib.ExitStack) -> Source:
    head, codec = _head(file), None
    if codec := next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None):
        head = _decompressed(file, codec, closing).read(HEAD_BYTES)
        if head.startswith((_HDF5, _PARQUET, _ARROW_FILE)):
            file, codec = _spooled(_decompressed(file, codec, closing), closing), None
    if codec is None and _is_hdf5(file):
        return HDF5Source(str(path), closing.enter_context(h5py.File(file, "r")), wanted)
    if what := next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None):
        raise HvcodError(f"{path} is {what}: {_ADVICE}")
    stream = file if codec is None else _decompressed(file, codec, closing)
    return TableSource(str(path), _table(path, head, stream), wanted)


def _table(path: Path, head: bytes, stream: BinaryIO) -> Table:
    if head.startswith(_PARQUET):
        return ParquetTable(stream)
    if head.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return ArrowTable(stream, head.startswith(_ARROW_FILE))
    return CSVTable(str(path), head, stream)


def _head(file: BinaryIO) -> bytes:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _decompressed(file: BinaryIO, codec: str, closing: contextlib.ExitStack) -> BinaryIO:
    """The decompressed bytes from the beginning of a file; its own position is lost."""
    file.seek(0)
    # pyarrow closes the file that it reads.
    again = closing.enter_context(os.fdopen(os.dup(file.fileno()), "rb"))
    openers: Any = {"xz": lzma.LZMAFile}
    opener = openers.get(codec, partial(pa.CompressedInputStream, compression=codec))
    return cast(BinaryIO, closing.enter_context(opener(again)))


def _is_hdf5(file: BinaryIO) -> bool:
    """Looks for the signature of HDF5 where it may be: at byte 0, 512, 1024, 2048, ..."""
    size, offset, found = file.seek(0, os.SEEK_END), 0, False
    while offset < size and not found:
        file.seek(offset)
        found = file.read(len(_HDF5)) == _HDF5
        offset = offset * 2 or 512
    file.seek(0)
    return found
