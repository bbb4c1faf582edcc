"""Packed images: few large HDF5 files that hold the images' own bytes, and one index.

A dataset is a folder::

    dataset.json       format, classes, counts, the shards
    index.h5           `training`, `validation` and `test`: for every image of the part
                       shard   which shard holds it (32 bit)
                       row     its number there (32 bit)
                       begin   its first byte in the shard's `images` (64 bit)
                       size    its bytes (32 bit)
                       label   its class, or -1 if that is not known (32 bit)
    report.json        what was read, skipped and damaged
    shards/00003-00.h5 images  encoded images (JPEG mostly), one behind the other, as they came
                       offsets where each begins, and the end (64 bit)
                       ids     the images' names, UTF-8, a line feed behind each

A shard is written while its images stream by, when the set of classes is not known yet: that is why
labels are in the index. The bytes depend on the inputs and options alone: no times, no paths, no
ranks.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError
from hvcod.tasks.files import read_json
from hvcod.tasks.reading.files import readable

FORMAT, VERSION = "hvcod-images", 1
PARTS = ("training", "validation", "test")
UNLABELLED = -1
COLUMNS = {"shard": "<i4", "row": "<i4", "begin": "<i8", "size": "<i4", "label": "<i4"}
OPEN_SHARDS = 256
"""Shards that a dataset keeps open; file descriptors are few on some clusters."""

Integers = npt.NDArray[np.integer]


@dataclass(frozen=True)
class ShardInfo:
    """A shard's file, relative to the dataset's folder, and what it holds."""

    file: str
    images: int
    bytes: int


def shard_image(content: bytearray, sizes: Sequence[int], ids: Sequence[str]) -> bytes:
    """A shard as the bytes of an HDF5 file.

    Args:
        content: Encoded images, one behind the other.
        sizes: The bytes of each.
        ids: The name of each, without line feeds.
    """
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        file.attrs.update(format=FORMAT, version=VERSION)
        names = "".join(f"{name}\n" for name in ids).encode()
        file.create_dataset("images", data=np.frombuffer(content, np.uint8))
        file.create_dataset("offsets", data=np.cumsum([0, *sizes]).astype("<i8"))
        file.create_dataset("ids", data=np.frombuffer(names, np.uint8))
        return _image(file)


def index_image(parts: Mapping[str, Mapping[str, Integers]]) -> bytes:
    """The index as the bytes of an HDF5 file; ``parts`` gives {column: values} for each part."""
    with h5py.File("index", "w", driver="core", backing_store=False) as file:
        file.attrs.update(format=FORMAT, version=VERSION)
        for part in PARTS:
            group = file.create_group(part)
            for column, dtype in COLUMNS.items():
                group.create_dataset(column, data=parts[part][column].astype(dtype))
        return _image(file)


def _image(file: h5py.File) -> bytes:
    file.flush()
    image: bytes = file.id.get_file_image()
    return image


def describe_dataset(
    classes: Sequence[str],
    counts: Mapping[str, int],
    shards: Sequence[ShardInfo],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``dataset.json``; ``counts`` are the images of each part."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(classes),
        "images": dict(counts),
        "plan": dict(plan),
        "shards": [asdict(shard) for shard in shards],
    }


class Shard:
    """An open shard: its images are read from the file when asked for, by any number of threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with _opened(path) as file:
                self._start: int = file["images"].id.get_offset() or 0
                self._end: int = file["images"].shape[0]
            self._file = os.open(path, os.O_RDONLY)
        except (OSError, KeyError, ValueError) as error:
            raise HvcodError(
                f"cannot read the images in {path}: {error}; prepare the data again"
            ) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, begin: int, size: int) -> bytes:
        """The bytes of one image.

        Raises:
            HvcodError: The file ends too early, or cannot be read.
        """
        try:
            content = os.pread(self._file, size, self._start + begin)
        except OSError as error:
            raise HvcodError(f"cannot read {self._path}: {error.strerror}") from error
        if len(content) < size or begin + size > self._end:
            raise HvcodError(f"the images in {self._path} are cut off; prepare the data again")
        return content

    def ids(self) -> list[str]:
        """The images' names, by row."""
        with _opened(self._path) as file:
            joined: str = file["ids"][:].tobytes().decode()
        return joined.split("\n")[:-1]


class ImagePart:
    """One part of a dataset: where its images lie, and what they show.

    Attributes:
        labels: The class of each image, or `UNLABELLED`; int32 [images].
    """

    def __init__(self, dataset: "ImageDataset", columns: Mapping[str, Integers]) -> None:
        self._dataset = dataset
        self._shard, self._row = columns["shard"], columns["row"]
        self._begin, self._size = columns["begin"], columns["size"]
        self.labels = columns["label"]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, image: int) -> bytes:
        """The encoded bytes of an image; safe in any thread."""
        shard = self._dataset.shard(int(self._shard[image]))
        return shard.read(int(self._begin[image]), int(self._size[image]))

    def ids(self, images: Integers) -> list[str]:
        """The names of some images."""
        return [
            self._dataset.ids(shard)[row]
            for shard, row in zip(
                self._shard[images].tolist(), self._row[images].tolist(), strict=True
            )
        ]


class ImageDataset:
    """A prepared dataset; opening it reads its description and its index.

    Attributes:
        folder: Where it lies.
        classes: The names of the classes; a label is a place in this list.
        parts: Training, validation and test part, some of them empty.

    Raises:
        HvcodError: The folder holds no dataset, a damaged one or one of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with readable(folder):
            finished = (folder / "dataset.json").is_file()
        if not finished:
            raise HvcodError(f"{folder} holds no finished data of `hvcod data imagenet`")
        content = read_json(folder / "dataset.json")
        try:
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise HvcodError(f"{folder} holds data of another format than this hvcod reads")
            self.classes: list[str] = content["classes"]
            self._files = [folder / shard["file"] for shard in content["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise HvcodError(f"{folder / 'dataset.json'} is damaged: {error!r}") from error
        self.parts = self._parts()
        self.shard = lru_cache(OPEN_SHARDS)(lambda shard: Shard(self._files[shard]))
        self.ids = lru_cache(2)(lambda shard: self.shard(shard).ids())

    def _parts(self) -> dict[str, ImagePart]:
        path = self.folder / "index.h5"
        try:
            with _opened(path) as file:
                found = {part: {name: file[part][name][:] for name in COLUMNS} for part in PARTS}
        except (OSError, KeyError, ValueError) as error:
            raise HvcodError(f"cannot read {path}: {error}; prepare the data again") from error
        return {part: ImagePart(self, columns) for part, columns in found.items()}


def _opened(path: Path) -> h5py.File:
    file = h5py.File(path, "r", locking=False)
    if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
        file.close()
        raise ValueError(f"not of the format {FORMAT} {VERSION}")
    return file
