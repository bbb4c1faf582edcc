"""Shards are the same bytes for the same documents, and say so when they are damaged."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from tasks.commoncrawl.corpora import documents_of
from tasks.commoncrawl.tokens.test_stream import make_dataset

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.tokens.dataset import (
    OPEN_SHARDS,
    TokenDataset,
    shard_image,
)
from hvcod.tasks.files import write_whole

DOCUMENTS = [(f"id-{n}", np.arange(n, 3 * n + 1, dtype=np.uint16)) for n in range(1, 6)]
HELD_OUT = [False, True, False, False, True]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[10, 20, 30], [7, 8]], held_out=1)
    training = documents_of(dataset, 0, "training")
    assert [len(tokens) for tokens in training.values()] == [10, 20]
    assert list(training) == ["0-0", "0-1"]
    assert list(documents_of(dataset, 1, "validation")) == ["1-1"]
    assert training["0-0"].tolist() == [*range(6, 15), 5]
    assert dataset.columns(0).read("training/tokens", 9, 12).tolist() == [5, 15, 16]
    assert (dataset.documents("training"), dataset.tokens("training")) == (3, 37)
    assert (dataset.documents("validation"), dataset.tokens("validation")) == (2, 38)
    assert len(dataset.between("validation", 28, 33)) == 5


def test_the_same_documents_give_the_same_bytes() -> None:
    first, counts, content = shard_image(DOCUMENTS, HELD_OUT, np.dtype(np.uint16))
    again, _, other = shard_image(DOCUMENTS, HELD_OUT, np.dtype(np.uint16))
    assert (first, content) == (again, other)
    assert counts == {
        "training_documents": 3,
        "training_tokens": 3 + 7 + 9,
        "validation_documents": 2,
        "validation_tokens": 5 + 11,
    }


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_any_hdf5_tool_opens_a_shard(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "shard.h5"
    write_whole(path, shard_image(DOCUMENTS, HELD_OUT, np.dtype(dtype))[0])
    with h5py.File(path) as file:
        assert file["training/tokens"].dtype == dtype
        assert file["training/offsets"][:].tolist() == [0, 3, 10, 19]
        assert file["validation/ids"][:].tobytes() == b"id-2\nid-5\n"


def test_a_shard_may_have_an_empty_part(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[10, 20], [5]], held_out=1)
    assert dataset.columns(1).read("training/offsets").tolist() == [0]
    assert documents_of(dataset, 1, "training") == {}


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    make_dataset(tmp_path, [[1000, 1000], [500]], held_out=0)
    path = tmp_path / "shards" / "0.h5"
    whole = path.read_bytes()
    for content in [
        whole[: len(whole) // 2],
        b"",
        b"no HDF5 at all",
        whole.replace(b"hvcod", b"other"),
    ]:
        path.write_bytes(content)
        with pytest.raises(HvcodError, match=r"shards/0\.h5"):
            TokenDataset(tmp_path).columns(0)
    path.unlink()
    with pytest.raises(HvcodError, match=r"shards/0\.h5"):
        TokenDataset(tmp_path).columns(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "another format"),
        ({"version": 99}, "another format"),
        ({"shards": [{"file": "x"}]}, "is damaged"),
        ({"vocabulary_size": None, "unigram_counts": "x"}, "is damaged"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    make_dataset(tmp_path, [[10]], held_out=0)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(HvcodError, match=message):
        TokenDataset(tmp_path)


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match="holds no finished data"):
        TokenDataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(HvcodError, match=r"cannot read .*dataset\.json"):
        TokenDataset(tmp_path)


def test_few_shards_are_open_at_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[10]] * (OPEN_SHARDS + 5), held_out=0)
    for index in [*range(OPEN_SHARDS + 5), 0]:
        assert dataset.columns(index).read("training/offsets").tolist() == [0, 10]
    assert dataset.columns.cache_info().currsize == OPEN_SHARDS
