"""Rows of features: the data that ``hvcod data criteo`` prepares, in the order of the input.

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

A part (training, validation, test) is a range of rows. The bytes depend on the inputs and the
options alone: no times, no paths, no ranks.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.tasks.columns import Array, Columns, DataFormat, described
from hvcod.tasks.files import read_json

FORMAT = DataFormat("hvcod-criteo", 1, "hvcod data criteo")
PARTS = ("training", "validation", "test")
OPEN_SHARDS = 256
"""Shards whose files stay open."""

FAR_APART = 16
"""Rows that lie further apart are read one by one."""

INTEGERS, CATEGORIES = 13, 26
INTEGER_NAMES = tuple(f"I{number}" for number in range(1, INTEGERS + 1))
CATEGORY_NAMES = tuple(f"C{number}" for number in range(1, CATEGORIES + 1))

Integers = npt.NDArray[np.int64]


class Examples(NamedTuple):
    """Rows as the model reads them and their labels; see the module."""

    integers: Array
    categories: Array
    labels: Array


class ClickDataset:
    """A prepared dataset; opening it reads ``dataset.json`` and nothing else.

    Attributes:
        folder: Its path.
        table_rows: Rows of the table of embeddings, over all features.
        parts: The range of rows of each part.
        click_rate: Share of clicks in the rows that the features were learned from.
        generated: Whether the true probabilities are known.
        content: Digest of all rows; empty if an earlier version prepared them.

    Raises:
        HvcodError: The folder holds no dataset, or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with described(folder, FORMAT) as content:
            self.table_rows: int = content["table_rows"]
            self.click_rate: float = content["click_rate"]
            self.generated: bool = content["generated"]
            self.parts = {name: range(*content["parts"][name]) for name in PARTS}
            self.content: str = content.get("content", "")
            self._meaning: dict[str, str] | None = content.get("meaning")
            files = [folder / file for file, _ in content["shards"]]
            self._ends = np.cumsum([0, *(count for _, count in content["shards"])])
        self._shard = lru_cache(OPEN_SHARDS)(lambda index: Columns(files[index], FORMAT))

    @cached_property
    def meaning(self) -> Mapping[str, str]:
        """The digests of the features; of their file, if an earlier version prepared the data."""
        if self._meaning is None:
            # Imported here because features are described by the names in this file.
            from hvcod.tasks.criteo.features import Features

            file = self.folder / "features.h5"
            self._meaning = Features.load(file).meaning if file.exists() else {}
        return self._meaning

    def part(self, name: str) -> range:
        """Returns the rows of a part.

        Raises:
            HvcodError: The data have no such part, or it is empty.
        """
        if not self.parts.get(name):
            filled = [f"{part} ({len(rows):,} rows)" for part, rows in self.parts.items() if rows]
            raise HvcodError(
                f"{self.folder} has no rows in the part {name}; it has {', '.join(filled)}"
            )
        return self.parts[name]

    def training_rows_by_input(self) -> list[int]:
        """Returns how many rows of the training part come from each input; not those with none.

        Raises:
            HvcodError: The report of the preparation is missing or damaged.
        """
        path = self.folder / "report.json"
        try:
            rows = [int(one["rows"]) for one in read_json(path)["inputs"]]
        except (KeyError, TypeError, ValueError) as error:
            raise HvcodError(f"{path} is damaged: {error!r}; use --days N") from error
        ends = np.clip(np.cumsum([0, *rows]), 0, len(self.parts["training"]))
        return [count for count in np.diff(ends).tolist() if count]

    def column(self, name: str, start: int, stop: int) -> Array:
        """Returns rows of one column, which may lie in several shards."""
        pieces, index = [], int(np.searchsorted(self._ends, start, side="right")) - 1
        while start < stop:
            begin, end = int(self._ends[index]), min(stop, int(self._ends[index + 1]))
            pieces.append(self._shard(index).read(name, start - begin, end - begin))
            start, index = end, index + 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def rows(self, numbers: Integers) -> Examples:
        """Returns some rows, in ascending order, as the model reads them.

        Neighbours are read together with the rows that lie between them.
        """
        far = np.flatnonzero(np.diff(numbers) > FAR_APART) + 1
        pieces = []
        for near in np.split(numbers, far):
            first, last = int(near[0]), int(near[-1])
            read = self.examples(first, last + 1)
            pieces.append(Examples(*(column[near - first] for column in read)))
        return Examples(*map(np.concatenate, zip(*pieces, strict=True)))

    def examples(self, start: int, stop: int) -> Examples:
        """Returns rows as the model reads them."""
        return Examples(*(self.column(name, start, stop) for name in Examples._fields))
