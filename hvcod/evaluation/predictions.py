"""Files of predictions: HDF5 with datasets, Parquet or CSV with columns.

``id``          the id of the example: a number or text
``prediction``  [N], or [N, classes]; the latter in CSV as ``prediction_0``, ``prediction_1``, ...,
                in Parquet as a list
``label``       the right class; -1 (in CSV: empty, in Parquet: null) where it is unknown; left out
                if all are unknown
"""

import csv
import gzip
import io
import lzma
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, UsageError
from hvcod.files.whole import output_problem
from hvcod.tasks.reading.compression import zstd

Array = npt.NDArray[Any]

MOST_COLUMNS = 1024
"""The largest number of classes that can be columns of a CSV file."""

_ROW_GROUP = 1 << 16
_MOST_VALUES = 1 << 22
"""The largest number of values in a row group of Parquet."""


@dataclass(frozen=True)
class Block:
    """Some predictions of a file.

    Attributes:
        ids: int64 [N], or text as UTF-8 bytes of a fixed length [N].
        predictions: float32 [N] or [N, classes].
        labels: int64 [N]; -1 where they are unknown.
    """

    ids: Array
    predictions: Array
    labels: Array

    def part(self, rows: slice) -> "Block":
        """Returns some of its rows."""
        return Block(self.ids[rows], self.predictions[rows], self.labels[rows])


@dataclass(frozen=True)
class Shape:
    """The size and types of a file of predictions.

    Attributes:
        classes: The number of classes; None for a single number per example.
        labelled: Whether any label is known.
        meaning: Of the classes (`hvcod.tensorfile.meaning`); CSV cannot note it.
    """

    count: int
    ids: np.dtype[Any]
    classes: int | None
    labelled: bool
    meaning: str = ""


Writer = Callable[[BinaryIO, Shape, Iterable[Block]], None]


def ending(path: Path) -> str:
    """Returns the ending that says what kind of file a path names, such as ``.csv.zst``.

    Raises:
        UsageError: It is none that hvcod writes.
    """
    found = next((each for each in _WRITERS if path.name.endswith(each)), None)
    if found is None:
        *others, last = _WRITERS
        known = f"{', '.join(others)} or {last}"
        raise UsageError(f"--output {path}: name a file that ends in {known}")
    return found


def writer(path: Path) -> Writer:
    """Returns the function that writes files with this ending: (open file, shape, blocks).

    The function raises OSError, such as on a full disk, and then leaves an incomplete file.

    Raises:
        UsageError: It is the ending of no kind of file that hvcod writes, or what has this path now
            is not a file that may be replaced.
    """
    function = _WRITERS[ending(path)]
    if problem := output_problem(path):
        raise UsageError(f"--output {problem}")
    return function


def check_columns(path: Path, predictions: Array) -> None:
    """Raises HvcodError if a file with this ending cannot have so many columns."""
    text = ending(path).startswith(".csv")
    if text and predictions.ndim > 1 and predictions.shape[1] > MOST_COLUMNS:
        raise HvcodError(
            f"--output {path}: {predictions.shape[1]} classes are too many columns; write a file "
            "that ends in .h5 or .parquet"
        )


def _write_hdf5(file: BinaryIO, shape: Shape, blocks: Iterable[Block]) -> None:
    # libhdf5 only lays out the file. The values are written without it, because it would crash the
    # process on a full disk. Its path is that of the open file, which nobody can exchange for
    # another one, as they could exchange its name.
    with h5py.File(f"/proc/self/fd/{file.fileno()}", "w", locking=False) as layout:
        layout.attrs["meaning"] = np.bytes_(shape.meaning.encode())
        rows = (shape.count,)
        matrix = rows if shape.classes is None else (shape.count, shape.classes)
        offsets = {"ids": _reserve(layout, "id", rows, shape.ids)}
        offsets["predictions"] = _reserve(layout, "prediction", matrix, np.dtype("<f4"))
        if shape.labelled:
            offsets["labels"] = _reserve(layout, "label", rows, np.dtype("<i8"))
    for block in blocks:
        for name, offset in offsets.items():
            values = getattr(block, name)
            values = values.astype(shape.ids) if name == "ids" else values
            file.seek(offset)
            offsets[name] = offset + file.write(values.tobytes())


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Makes a contiguous dataset and returns its offset in the file (0 if it is empty)."""
    text = kind.kind == "S"
    stored: Any = h5py.string_dtype("utf-8", kind.itemsize) if text else kind
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)  # the same predictions are the same bytes
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space, of_file = h5py.h5s.create_simple(shape), h5py.h5t.py_create(stored, logical=True)
    dataset = h5py.h5d.create(file.id, name.encode(), of_file, space, properties)
    offset: int = dataset.get_offset() or 0
    return offset


def _write_csv(file: BinaryIO, shape: Shape, blocks: Iterable[Block]) -> None:
    names = ["prediction"]
    if shape.classes is not None:
        names = [f"prediction_{number}" for number in range(shape.classes)]
    text = io.TextIOWrapper(file, newline="", encoding="utf-8")
    try:
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["id", *names, *(["label"] if shape.labelled else [])])
        for block in blocks:
            ids = np.char.decode(block.ids, "utf-8") if shape.ids.kind == "S" else block.ids
            # numpy writes the shortest text that is the same float32.
            figures = block.predictions.reshape(len(ids), -1).astype(str).tolist()
            labels = [["" if label < 0 else label] for label in block.labels.tolist()]
            for name, row, label in zip(ids.tolist(), figures, labels, strict=True):
                lines.writerow([name, *row, *(label if shape.labelled else [])])
    finally:
        text.detach()


def _write_compressed(
    compressor: Callable[[BinaryIO], BinaryIO],
    file: BinaryIO,
    shape: Shape,
    blocks: Iterable[Block],
) -> None:
    with compressor(file) as stream:
        _write_csv(stream, shape, blocks)


def _gzip(file: BinaryIO) -> BinaryIO:
    # Neither name nor time: the same predictions are the same bytes.
    return cast(BinaryIO, gzip.GzipFile("", "wb", fileobj=file, mtime=0))


def _xz(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(file, "wb"))


def _zstd(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, zstd.ZstdFile(file, "wb"))


def _write_parquet(file: BinaryIO, shape: Shape, blocks: Iterable[Block]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    single = pa.float32()
    columns = {
        "id": pa.string() if shape.ids.kind == "S" else pa.int64(),
        "prediction": single if shape.classes is None else pa.list_(single),
        **({"label": pa.int64()} if shape.labelled else {}),
    }
    schema = pa.schema(columns.items(), {"meaning": shape.meaning})
    with pq.ParquetWriter(file, schema, compression="zstd") as table:
        for block in _regular(blocks, shape):
            labels = pa.array(block.labels, mask=block.labels < 0)
            ids = np.char.decode(block.ids, "utf-8") if shape.ids.kind == "S" else block.ids
            arrays = [pa.array(ids.tolist(), columns["id"]), _predictions(block.predictions)]
            arrays += [labels] * shape.labelled
            table.write_batch(pa.record_batch(arrays, schema=schema), len(labels))


def _predictions(values: Array) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim == 1:
        return flat
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, flat)


def _regular(blocks: Iterable[Block], shape: Shape) -> Iterator[Block]:
    """The same predictions in blocks of equal size, each a row group; only the last is shorter."""
    rows = max(1, min(_ROW_GROUP, _MOST_VALUES // (shape.classes or 1)))
    waiting: list[Block] = []
    for block in blocks:
        waiting.append(block)
        while sum(len(each.ids) for each in waiting) >= rows:
            whole = _joined(waiting)
            yield whole.part(slice(rows))
            waiting = [whole.part(slice(rows, None))]
    if waiting and len((rest := _joined(waiting)).ids):
        yield rest


def _joined(blocks: Sequence[Block]) -> Block:
    names = ("ids", "predictions", "labels")
    return Block(*(np.concatenate([getattr(each, name) for each in blocks]) for name in names))


_WRITERS: dict[str, Writer] = {
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".csv.gz": partial(_write_compressed, _gzip),
    ".csv.xz": partial(_write_compressed, _xz),
    ".csv.zst": partial(_write_compressed, _zstd),
}
"""{ending: the function that writes such files}."""
