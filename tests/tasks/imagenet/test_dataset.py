"""The packed format, and what is said when it is damaged."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from tasks.imagenet.pictures import class_files, packed, write_files

from hvcod.errors import HvcodError
from hvcod.tasks.imagenet.dataset import ImageDataset

FILES = class_files(["cat", "dog"], 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    packed([write_files(tmp_path / "data", FILES)], tmp_path / "out", validation_fraction=0.1)
    return tmp_path / "out"


def test_any_reader_of_hdf5_finds_the_images(folder: Path) -> None:
    (shard,) = (folder / "shards").iterdir()
    with h5py.File(shard) as file:
        content, offsets = file["images"][:].tobytes(), file["offsets"][:]
        names = file["ids"][:].tobytes().decode().splitlines()
    assert names == sorted(FILES)
    for name, begin, end in zip(names, offsets[:-1], offsets[1:], strict=True):
        assert content[begin:end] == FILES[name]


def test_the_description_holds_classes_and_counts(folder: Path) -> None:
    found = json.loads((folder / "dataset.json").read_text())
    assert found["classes"] == ["cat", "dog"]
    assert found["images"] == {"training": 18, "validation": 2, "test": 0}
    assert found["shards"][0]["images"] == 20


def test_a_shard_that_is_cut_off_is_named(folder: Path) -> None:
    (shard,) = (folder / "shards").iterdir()
    images = ImageDataset(folder).parts["training"]
    images.read(0)
    with h5py.File(shard) as file:
        end = file["images"].id.get_offset() + file["images"].shape[0]
    content = shard.read_bytes()
    shard.write_bytes(content[: end - 100])
    with pytest.raises(HvcodError, match=r"00000-00\.h5.*prepare the data again"):
        ImageDataset(folder).parts["training"].read(len(images) - 1)


DAMAGE = {
    "no dataset": ("dataset.json", None, "holds no finished data"),
    "no JSON": ("dataset.json", b"{", "cannot read"),
    "no description": ("dataset.json", b"{}", "is damaged"),
    "another format": (
        "dataset.json",
        b'{"format": "hvcod-tokens", "version": 1}',
        "another format than this hvcod reads",
    ),
    "no index": ("index.h5", None, "index.h5.*prepare the data again"),
    "a damaged index": ("index.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "prepare the data again"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_dataset_ends_in_a_line(name: str, folder: Path) -> None:
    file, content, reason = DAMAGE[name]
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(HvcodError, match=reason):
        ImageDataset(folder)


def test_a_lost_shard_is_named(folder: Path) -> None:
    (shard,) = (folder / "shards").iterdir()
    shard.unlink()
    with pytest.raises(HvcodError, match=r"00000-00\.h5"):
        ImageDataset(folder).parts["training"].read(0)


def test_ids_are_those_of_the_images_asked_for(folder: Path) -> None:
    images = ImageDataset(folder).parts["training"]
    assert images.ids(np.array([3, 1])) == [images.ids(np.array([n]))[0] for n in (3, 1)]
