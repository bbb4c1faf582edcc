"""Packed images: the data that ``hvcod data imagenet`` prepares.

A dataset is a folder::

    dataset.json       format, classes, counts, the shards
    index.h5           `training`, `validation` and `test`: for every image of the part
                       shard   which shard holds it (32 bit)
                       row     its number there (32 bit)
                       begin   its first byte in the shard's `images` (64 bit)
                       size    its bytes (32 bit)
                       label   its class, or -1 if that is not known (32 bit)
    report.json        what was read, skipped and damaged
    shards/00003-00.h5 images  encoded images (JPEG mostly), one behind the other, unchanged
                       offsets where each begins, and the end (64 bit)
                       ids     the images' names, UTF-8, a line feed behind each

Labels are in the index because a shard is written while its images stream by, when the set of
classes is not known yet. The bytes depend on the inputs and the options alone: no times, no paths,
no ranks.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvcod.tasks.columns import Columns, DataFormat, described

FORMAT = DataFormat("hvcod-images", 1, "hvcod data imagenet")
PARTS = ("training", "validation", "test")
UNLABELLED = -1
COLUMNS = {"shard": "<i4", "row": "<i4", "begin": "<i8", "size": "<i4", "label": "<i4"}
OPEN_SHARDS = 256
"""Shards that a dataset keeps open; file descriptors are few on some clusters."""

Integers = npt.NDArray[np.integer]


class ImagePart:
    """One part of a dataset: where its images lie, and their classes.

    Attributes:
        labels: The class of each image, or `UNLABELLED`; int32 [images].
    """

    def __init__(self, dataset: "ImageDataset", columns: Mapping[str, Integers]) -> None:
        self._dataset, self._columns = dataset, columns
        self.labels = columns["label"]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, number: int) -> bytes:
        """Returns the encoded bytes of an image; safe in any thread."""
        names = ("shard", "begin", "size")
        shard, begin, size = (int(self._columns[name][number]) for name in names)
        return self._dataset.shard(shard).read_bytes("images", begin, begin + size)

    def ids(self, images: Integers) -> list[str]:
        """Returns the names of some images."""
        shards, rows = (self._columns[name][images].tolist() for name in ("shard", "row"))
        return [self._dataset.ids(shard)[row] for shard, row in zip(shards, rows, strict=True)]


class ImageDataset:
    """A prepared dataset; opening it reads its description and its index.

    Attributes:
        folder: Its path.
        classes: The names of the classes; a label is an index into this list.
        content: Digest of all images and their labels; empty if an earlier version packed them.
        parts: Training, validation and test part, some of them empty.
        shard: Opens a shard by its index, or returns it from those that are kept open.
        ids: Returns the names of a shard's images, by row.

    Raises:
        HvcodError: The folder holds no dataset, a damaged one or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with described(folder, FORMAT) as content:
            self.classes: list[str] = content["classes"]
            self.content: str = content.get("content", "")
            files = [folder / shard["file"] for shard in content["shards"]]
        index = Columns(folder / "index.h5", FORMAT)
        self.parts = {
            part: ImagePart(self, {name: index.read(f"{part}/{name}") for name in COLUMNS})
            for part in PARTS
        }
        self.shard = lru_cache(OPEN_SHARDS)(lambda shard: Columns(files[shard], FORMAT))
        self.ids = lru_cache(2)(lambda shard: self.shard(shard).read_lines("ids"))
