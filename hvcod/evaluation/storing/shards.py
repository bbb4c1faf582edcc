"""The shards of a store of predictions: files that are written while predictions come in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hvcod.codistill.predictions.packing import Packing, Rows
from hvcod.errors import HvcodError
from hvcod.tasks.columns import Array, fingerprint, image
from hvcod.tasks.files import write_whole
from hvcod.training.stored.store import FORMAT, Places, checks

FILE_BYTES = 2**26
"""The size of a file; what is not written yet is in memory."""

Run = tuple[int, int]
"""Predictions of consecutive places: the first place, and their number."""


class ShardWriter:
    """Writes the predictions of one shard to files of `FILE_BYTES` at most, each sorted by place.

    Args:
        folder: The store.
        shard: The number of the shard.
        packing: The form of the predictions.

    Attributes:
        count: The number of predictions so far.
    """

    def __init__(self, folder: Path, shard: int, packing: Packing) -> None:
        self._folder, self._shard, self._packing = folder, shard, packing
        self._waiting: list[tuple[Places, Rows]] = []
        self._files: list[dict[str, Any]] = []
        self._bytes = self.count = 0

    def add(self, places: Places, rows: Rows) -> None:
        """Adds packed predictions at some places; raises what `write_whole` does."""
        if self._bytes and self._bytes + rows.nbytes > FILE_BYTES:
            self._write()
        self._waiting.append((places, rows))
        self._bytes += rows.nbytes
        self.count += len(rows)

    def finish(self) -> dict[str, Any]:
        """Writes what is left; returns the names, runs and digests of all files."""
        if self._bytes:
            self._write()
        return {"files": self._files, "content": [file["content"] for file in self._files]}

    def _write(self) -> None:
        places, rows = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        order = np.argsort(places, kind="stable")
        places, rows = places[order], rows[order]
        columns: dict[str, Array] = {"predictions": rows, "checks": checks(rows, self._packing)}
        name = f"shards/{self._shard:05d}-{len(self._files):02d}.h5"
        write_whole(self._folder / name, image(columns, FORMAT))
        told = {"file": name, "runs": runs(places), "content": fingerprint(columns)}
        self._files.append(told)
        self._waiting, self._bytes = [], 0


def runs(places: Places) -> list[Run]:
    """Returns the runs of ascending places; a place that comes twice begins a run."""
    begins = np.flatnonzero(np.diff(places, prepend=places[0] - 2) != 1)
    counts = np.diff(begins, append=len(places))
    return list(zip(places[begins].tolist(), counts.tolist(), strict=True))


def index_of(shards: Sequence[Sequence[Run]]) -> dict[str, Array]:
    """Returns the columns of the index: the runs of all shards by place.

    Raises:
        HvcodError: A place has two predictions.
    """
    entries = []
    for shard, pieces in enumerate(shards):
        row = 0
        for first, size in pieces:
            entries.append((first, size, shard, row))
            row += size
    place, count, shard_of, row_of = np.array(sorted(entries), dtype=np.int64).reshape(-1, 4).T
    if len(twice := np.flatnonzero(place[:-1] + count[:-1] > place[1:])):
        raise HvcodError(
            f"the task predicts its place {place[twice[0] + 1]} twice: evaluation_data() must "
            "yield each place of a part once, over all ranks (see Batch.places)"
        )
    return {"place": place, "count": count, "shard": shard_of.astype(np.int32), "row": row_of}
