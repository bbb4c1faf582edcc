"""Files of predictions: HDF5 with datasets, or CSV with columns.

``id``          what names the example: a number or text
``prediction``  [N], or [N, classes]; in CSV then ``prediction_0``, ``prediction_1``, ...
``label``       the class that was right; -1 (in CSV: nothing) where it is not known, left out if
                it is known of none
"""

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, UsageError

Array = npt.NDArray[Any]

MOST_COLUMNS = 1024
"""Classes that a CSV file has columns for."""


@dataclass(frozen=True)
class Block:
    """Some predictions, or by their types and shapes all of a file.

    Attributes:
        ids: int64 [N], or text as UTF-8 bytes of a fixed length [N].
        predictions: float32 [N] or [N, classes].
        labels: int64 [N]; -1 where they are not known.
    """

    ids: Array
    predictions: Array
    labels: Array


@dataclass(frozen=True)
class Shape:
    """What a file of predictions will hold.

    Attributes:
        count: Predictions.
        ids: The type of an id.
        classes: None for one number an example.
        labelled: Whether any label is known.
    """

    count: int
    ids: np.dtype[Any]
    classes: int | None
    labelled: bool


def writer(path: Path) -> Callable[[Path, Shape, Iterable[Block]], None]:
    """The function that writes a file of that name's kind: (path, what it will hold, blocks).

    It raises OSError if the disk is full; the file is the caller's to sync.

    Raises:
        UsageError: There is no such kind.
    """
    writers = {".h5": _write_hdf5, ".hdf5": _write_hdf5, ".csv": _write_csv}
    if path.suffix not in writers:
        raise UsageError(f"--output {path}: name a file that ends in .h5 or .csv")
    return writers[path.suffix]


def check_columns(path: Path, predictions: Array) -> None:
    """Raises HvcodError if a file of that name's kind cannot have so many columns."""
    if path.suffix == ".csv" and predictions.ndim > 1 and predictions.shape[1] > MOST_COLUMNS:
        raise HvcodError(
            f"--output {path}: {predictions.shape[1]} classes are too many columns; write a file "
            "that ends in .h5"
        )


def _write_hdf5(path: Path, shape: Shape, blocks: Iterable[Block]) -> None:
    # libhdf5 lays out the file; the values are written past it, because a full disk would make it
    # end the process.
    columns = ["ids", "predictions"] + (["labels"] if shape.labelled else [])
    with h5py.File(path, "w", locking=False) as file:
        rows = (shape.count,)
        matrix = rows if shape.classes is None else (shape.count, shape.classes)
        places = [_reserve(file, "id", rows, shape.ids)]
        places.append(_reserve(file, "prediction", matrix, np.dtype("<f4")))
        if shape.labelled:
            places.append(_reserve(file, "label", rows, np.dtype("<i8")))
    with path.open("r+b", buffering=0) as raw:
        for block in blocks:
            for column, (name, place) in enumerate(zip(columns, places, strict=True)):
                values = getattr(block, name)
                values = values.astype(shape.ids) if name == "ids" else values
                places[column] = place + _write(raw.fileno(), values.tobytes(), place)


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Makes a dataset of a fixed place in the file; where it begins (0 if it is empty)."""
    text = kind.kind == "S"
    stored: Any = h5py.string_dtype("utf-8", kind.itemsize) if text else kind
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)  # the same predictions are the same bytes
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space, of_file = h5py.h5s.create_simple(shape), h5py.h5t.py_create(stored, logical=True)
    dataset = h5py.h5d.create(file.id, name.encode(), of_file, space, properties)
    place: int = dataset.get_offset() or 0
    return place


def _write(file: int, content: bytes, place: int) -> int:
    done, data = 0, memoryview(content)
    while done < len(data):
        done += os.pwrite(file, data[done:], place + done)
    return done


def _write_csv(path: Path, shape: Shape, blocks: Iterable[Block]) -> None:
    names = ["prediction"]
    if shape.classes is not None:
        names = [f"prediction_{number}" for number in range(shape.classes)]
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["id", *names, *(["label"] if shape.labelled else [])])
        for block in blocks:
            ids = np.char.decode(block.ids, "utf-8") if shape.ids.kind == "S" else block.ids
            # As text in numpy, which knows the shortest form of a float32.
            figures = block.predictions.reshape(len(ids), -1).astype(str).tolist()
            labels = [["" if each < 0 else each] for each in block.labels.tolist()]
            for name, row, label in zip(ids.tolist(), figures, labels, strict=True):
                lines.writerow([name, *row, *(label if shape.labelled else [])])
