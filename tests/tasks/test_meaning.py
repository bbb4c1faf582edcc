"""The meaning and the content of prepared data: what they follow from, and what they notice."""

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from tasks.commoncrawl.corpora import write_corpus
from tasks.imagenet.pictures import class_files, packed, write_files

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.groups.split import Group
from hvcod.tasks import TASKS, load_task
from hvcod.tasks.base import Task
from hvcod.tasks.columns import fingerprint
from hvcod.tasks.commoncrawl.preparation.options import PrepareOptions as TextOptions
from hvcod.tasks.commoncrawl.preparation.prepare import TextPreparation
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs
from hvcod.tasks.criteo.preparation.options import PrepareOptions as ClickOptions
from hvcod.tasks.criteo.preparation.prepare import ClickPreparation
from hvcod.tasks.criteo.preparation.sources import generated_inputs
from hvcod.tasks.files import write_json
from hvcod.tasks.reading.files import listing_digest
from hvcod.tensorfile.meaning import difference, meaning_of

Prepare = Callable[..., Path]


def text(folder: Path, seed: int = 0, **options: Any) -> Path:
    inputs = write_corpus(folder / "text", files=2, documents=6, seed=seed)
    chosen = config.resolve(TextOptions, [{"vocabulary_size": 300, **options}])
    sources = expand_inputs([str(path) for path in inputs]).sources
    TextPreparation(sources, folder / "data", chosen, MPI.COMM_SELF).run()
    return folder / "data"


def rows(folder: Path, seed: int = 0, **options: Any) -> Path:
    chosen = config.resolve(ClickOptions, [{"min_count": 3, **options}])
    ClickPreparation(generated_inputs(150, seed), folder / "data", chosen, MPI.COMM_SELF).run()
    return folder / "data"


def images(folder: Path, seed: int = 0, **options: Any) -> Path:
    inputs = write_files(folder / "in", class_files(["cat", f"dog{seed}"], 3))
    packed([inputs], folder / "data", validation_fraction=0.2, **options)
    return folder / "data"


PREPARE: dict[str, tuple[Prepare, dict[str, Any], str]] = {
    "commoncrawl": (text, {"shard_tokens": 500}, "vocabulary"),
    "criteo": (rows, {"piece_bytes": 20_000}, "categories"),
    "imagenet": (images, {"shard_bytes": 2000}, "classes"),
}
"""For each task: a preparation; options that store the same meaning otherwise; a part of it."""


def opened(task: str, folder: Path) -> Task:
    options = config.resolve(
        TrainOptions, [{"task": task, "data": folder}], load_task(task).Options
    )
    group = Group(0, 1, 0, 1, comm=MPI.COMM_SELF, node_rank=0, threads=1)
    return load_task(task)(options, group)


def known(task: str, folder: Path) -> tuple[str, str]:
    made = opened(task, folder)
    return meaning_of(made.meaning()), made.content()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Prepares data of a task, once."""
    return functools.cache(lambda task: PREPARE[task][0](tmp_path_factory.mktemp(task)))


@pytest.mark.parametrize("task", TASKS)
def test_meaning_and_content_follow_from_the_data_alone(
    task: str, first: Callable[[str], Path], tmp_path: Path
) -> None:
    prepare, otherwise, part = PREPARE[task]
    meaning, content = known(task, first(task))
    assert f"{part}:" in meaning
    assert len(content) == 32
    # Stored otherwise: of the same meaning, in another order; of other inputs: of another one.
    again = known(task, prepare(tmp_path / "c", **otherwise))
    assert again[0] == meaning
    assert again[1] != content
    other = known(task, prepare(tmp_path / "d", seed=1))
    assert difference(other[0], meaning).startswith(part)
    assert other[1] != content


@pytest.mark.parametrize("task", TASKS)
def test_of_data_of_an_earlier_version_the_meaning_is_known(
    task: str, first: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(first(task), tmp_path / "data")
    meaning, content = known(task, first(task))
    assert known(task, folder) == (meaning, content)
    description = json.loads((folder / "dataset.json").read_text())
    write_json(
        folder / "dataset.json",
        {key: value for key, value in description.items() if key not in ("meaning", "content")},
    )
    assert known(task, folder) == (meaning, "")
    for name in ("tokenizer.json", "features.h5"):
        (folder / name).unlink(missing_ok=True)
    assert known(task, folder)[0] == (meaning if task == "imagenet" else "")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.array([0, 1, 0], dtype=np.int8)},
        {"labels": np.array([1, 1, 0], dtype=np.int16)},
        {"labels": np.array([[1, 1, 0]], dtype=np.int8)},
        {"label": np.array([1, 1, 0], dtype=np.int8)},
    ],
)
def test_a_fingerprint_sees_names_types_shapes_and_values(
    change: Mapping[str, np.ndarray],
) -> None:
    labels = np.array([1, 1, 0], dtype=np.int8)
    ids = np.arange(3)
    before = fingerprint({"labels": labels, "ids": ids})
    assert before == fingerprint({"ids": ids.astype(">i8"), "labels": labels})
    assert before != fingerprint({"ids": ids, **change})


def test_of_a_task_that_says_nothing_the_files_are_compared(tmp_path: Path) -> None:
    files = {"a/training.npz": b"12345", "validation.npz": b"12", ".cache": b"1"}
    folders = [write_files(tmp_path / name, files) for name in ("one", "two")]
    digests = [listing_digest(folder) for folder in folders]
    assert len(set(digests)) == 1
    assert digests[0]
    (folders[0] / ".cache").write_bytes(b"changes all the time")
    assert listing_digest(folders[0]) == digests[0]
    (folders[0] / "validation.npz").write_bytes(b"123")
    assert listing_digest(folders[0]) != digests[0]
    assert listing_digest(folders[0] / "validation.npz")
    assert listing_digest(tmp_path / "nowhere") == listing_digest(None) == ""
