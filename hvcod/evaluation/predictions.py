"""Files of predictions: HDF5 with datasets, or CSV with columns.

``id``          the id of the example: a number or text
``prediction``  [N], or [N, classes]; the latter in CSV as ``prediction_0``, ``prediction_1``, ...
``label``       the right class; -1 (in CSV: empty) where it is unknown; left out if all are unknown
"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, UsageError
from hvcod.files.whole import output_problem

Array = npt.NDArray[Any]

MOST_COLUMNS = 1024
"""The largest number of classes that can be columns of a CSV file."""


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


@dataclass(frozen=True)
class Shape:
    """The size and types of a file of predictions.

    Attributes:
        classes: The number of classes; None for a single number per example.
        labelled: Whether any label is known.
        meaning: Of the classes (`hvcod.tensorfile.meaning`); only HDF5 can note it.
    """

    count: int
    ids: np.dtype[Any]
    classes: int | None
    labelled: bool
    meaning: str = ""


def writer(path: Path) -> Callable[[BinaryIO, Shape, Iterable[Block]], None]:
    """Returns the function that writes files with this ending: (open file, shape, blocks).

    The function raises OSError, such as on a full disk, and then leaves an incomplete file.

    Raises:
        UsageError: The ending is neither that of HDF5 nor of CSV, or what has this path now is not
            a file that may be replaced.
    """
    writers = {".h5": _write_hdf5, ".hdf5": _write_hdf5, ".csv": _write_csv}
    if path.suffix not in writers:
        raise UsageError(f"--output {path}: name a file that ends in .h5 or .csv")
    if problem := output_problem(path):
        raise UsageError(f"--output {problem}")
    return writers[path.suffix]


def check_columns(path: Path, predictions: Array) -> None:
    """Raises HvcodError if a file with this ending cannot have so many columns."""
    if path.suffix == ".csv" and predictions.ndim > 1 and predictions.shape[1] > MOST_COLUMNS:
        raise HvcodError(
            f"--output {path}: {predictions.shape[1]} classes are too many columns; write a file "
            "that ends in .h5"
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
