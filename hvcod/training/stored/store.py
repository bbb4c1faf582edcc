"""Stores of predictions: teachers' predictions on the training data, which `hvcod predict` writes.

A store is a folder::

    dataset.json       format, task, meaning and content of the data, files and digests of the
                       teachers, form of the predictions, the shards: all but the predictions
    index.h5           the runs: predictions of consecutive places, in the order of their places
                       place   of the first one (64 bit; `Batch.places`)
                       count   predictions (64 bit)
                       shard   which shard holds them (32 bit)
                       row     of the first one in it (64 bit)
    report.json        what was stored
    shards/00003-00.h5 predictions  packed (`hvcod.codistill.predictions.packing`)
                       checks       CRC-32 of every piece of `piece` predictions

The bytes depend on the data, the teachers and the options alone: no times, no ranks.
"""

import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.codistill.predictions.packing import Packing, Rows
from hvcod.errors import HvcodError
from hvcod.tasks.columns import Array, Columns, DataFormat, described
from hvcod.tasks.files import read_json
from hvcod.training.run.data import DataRecord

FORMAT = DataFormat("hvcod-predictions", 1, "hvcod predict --teacher-store")

PIECE_BYTES = 2**15
"""About the bytes that are read and checked at once."""

BYTES_IN_MEMORY = 2**26
"""About the bytes of pieces that are kept: neighbours of a prediction are asked for soon."""

_OPEN_SHARDS = 64

Places = npt.NDArray[np.int64]


def is_store(path: Path) -> bool:
    """Returns whether a path is that of a finished store of predictions."""
    return _is_described(path / "dataset.json")


def is_begun(path: Path) -> bool:
    """Returns whether a path is that of a store of predictions that is not finished."""
    return _is_described(path / "work" / "plan.json") and not is_store(path)


def _is_described(file: Path) -> bool:
    try:
        return bool(read_json(file)["format"] == FORMAT.name)
    except (HvcodError, KeyError, TypeError):
        return False


def piece_rows(packing: Packing) -> int:
    """Returns the predictions of a piece."""
    return max(1, PIECE_BYTES // packing.row.itemsize)


def checks(rows: Rows, packing: Packing) -> npt.NDArray[np.uint32]:
    """Returns the CRC-32 of every piece of the predictions of a shard."""
    size = piece_rows(packing)
    pieces = (rows[start : start + size] for start in range(0, len(rows), size))
    return np.array([zlib.crc32(piece.tobytes()) for piece in pieces], dtype=np.uint32)


class PredictionStore:
    """A store of predictions that is read; it may be used by several threads.

    Attributes:
        folder: Its path.
        task: The name of the task.
        data: What is known of the data.
        packing: The form of the predictions.
        temperature: The only one at which they can be used; None: any.
        teachers: The models that made them: name, path, step and digest of the weights of each.
        digest: That of all predictions and of how they were made.

    Raises:
        HvcodError: The folder holds no store, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with described(folder, FORMAT) as content:
            self.task: str = content["task"]
            self.data = DataRecord(**content["data"])
            self.packing = Packing.from_dict(content["packing"])
            self.temperature: float | None = content["temperature"]
            self.teachers: list[Mapping[str, Any]] = content["teachers"]
            self.digest: str = content["digest"]
            files = [folder / name for name in content["shards"]]
        index = Columns(folder / "index.h5", FORMAT)
        self._place, self._count, self._shard, self._row = (
            index.read(name) for name in ("place", "count", "shard", "row")
        )
        self._lock, self._size = Lock(), piece_rows(self.packing)
        self._opened = lru_cache(_OPEN_SHARDS)(lambda shard: _Shard(files[shard], self.packing))
        kept = max(1, BYTES_IN_MEMORY // (self._size * self.packing.row.itemsize))
        self._piece = lru_cache(kept)(lambda shard, piece: self._opened(shard).piece(piece))

    def __len__(self) -> int:
        return int(self._count.sum())

    def rows(self, places: Places) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Returns the packed predictions of some places, and which places have one.

        The others are zero.

        Raises:
            HvcodError: A shard cannot be read, or is damaged.
        """
        run = np.searchsorted(self._place, places, side="right") - 1
        known = run >= 0
        known &= places < self._place[run] + self._count[run]
        rows = np.zeros(len(places), self.packing.row)
        at = np.flatnonzero(known)
        shard, run = self._shard[run[at]], run[at]
        row = self._row[run] + places[at] - self._place[run]
        with self._lock:
            for chosen in _alike(shard, row // self._size):
                piece = int(row[chosen[0]]) // self._size
                found = self._piece(int(shard[chosen[0]]), piece)
                rows[at[chosen]] = found[row[chosen] - piece * self._size]
        return rows, known


class _Shard:
    """One open shard, of which every piece is checked when it is read."""

    def __init__(self, path: Path, packing: Packing) -> None:
        self._path, self._columns, self._size = path, Columns(path, FORMAT), piece_rows(packing)
        self._checks, self._dtype = self._columns.read("checks"), packing.row

    def piece(self, number: int) -> Array:
        start, stop = number * self._size, (number + 1) * self._size
        rows = self._columns.read(
            "predictions", start, min(stop, self._columns.rows("predictions"))
        )
        if rows.dtype != self._dtype or zlib.crc32(rows.tobytes()) != self._checks[number]:
            raise HvcodError(
                f"{self._path} is damaged: predictions {start} to {stop} do not match their "
                "checksum; write the store again"
            )
        return rows


def _alike(shard: Array, piece: Array) -> list[Array]:
    """Returns the indices of the rows of each piece."""
    order = np.lexsort((piece, shard))
    shard, piece = shard[order], piece[order]
    new = np.flatnonzero((np.diff(shard) != 0) | (np.diff(piece) != 0)) + 1
    return np.split(order, new) if len(order) else []
