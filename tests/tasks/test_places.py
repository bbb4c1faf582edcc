"""A prediction has the same place in training and in evaluation, by which stored ones are found."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from tasks.criteo.datasets import make_dataset
from tasks.imagenet.pictures import class_files, packed, write_files

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.groups.split import Group
from hvcod.tasks import load_task
from hvcod.tasks.base import Batch, Task

MakeTask = Callable[..., Task]

STEPS = 12


def rows(folder: Path) -> None:
    make_dataset(folder, [700, 900], 300, 100)


def images(folder: Path) -> None:
    files = class_files(["cat", "dog"], 20, "train/") | class_files(["cat", "dog"], 3, "val/")
    packed([write_files(folder.parent / "files", files)], folder)


@pytest.fixture(scope="module", params=["commoncrawl", "criteo", "imagenet"])
def make(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_data: Path
) -> MakeTask:
    name, data = request.param, tiny_data
    if name != "commoncrawl":
        data = tmp_path_factory.mktemp(name) / "data"
        (rows if name == "criteo" else images)(data)

    def make(index: int = 0, count: int = 1, rank: int = 0, size: int = 1, **more: Any) -> Task:
        layer = {"task": name, "data": data, "batch_size": 8, "validation_examples": None, **more}
        kind = load_task(name)
        options = config.resolve(TrainOptions, [kind.presets["laptop"], layer], kind.Options)
        return kind(options, Group(index, count, rank, size, MPI.COMM_SELF, 0, 1))

    return make


def contents(batch: Batch) -> Iterator[tuple[int, tuple[int, float]]]:
    """Yields the place of each prediction, its target and, of rows, the number in their inputs."""
    targets = batch.targets.flatten().tolist()
    numbers = batch.inputs[0][:, 0].tolist() if isinstance(batch.inputs, tuple) else targets
    assert batch.places is not None
    yield from zip(batch.places.tolist(), zip(targets, numbers, strict=True), strict=True)


def contents_by_place(task: Task, part: str) -> dict[int, tuple[int, float]]:
    known: dict[int, tuple[int, float]] = {}
    for batch in task.evaluation_data(part):
        for place, content in contents(batch):
            assert place < 0 or known.setdefault(place, content) is content
    return {place: content for place, content in known.items() if place >= 0}


@pytest.mark.parametrize(
    "options", [{}, {"same_data": True}, {"same_data": True, "bootstrap": True}], ids=str
)
def test_training_finds_what_evaluation_has_predicted(
    make: MakeTask, options: dict[str, bool]
) -> None:
    known = contents_by_place(make(), "training")
    for group in range(2):
        stream = make(group, 2, rank=1, size=2, **options).training_data()
        seen = 0
        for _ in range(STEPS):
            for place, content in contents(stream.next()):
                if place in known:
                    assert known[place] == content
                    seen += 1
        assert seen >= STEPS * 8 - 1  # the first token of all text is not predicted


def test_a_resumed_stream_goes_on_with_the_same_places(make: MakeTask) -> None:
    stream, other = make().training_data(), make().training_data()
    for _ in range(3):
        stream.next()
    other.load_state_dict(stream.state_dict())
    for _ in range(STEPS):
        np.testing.assert_array_equal(stream.next().places, other.next().places)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_part_has_as_many_places_as_the_task_says(make: MakeTask, part: str) -> None:
    places, known = make().places_in(part), contents_by_place(make(), part)
    assert places is not None
    first = 1 if make().options.task == "commoncrawl" else 0
    assert sorted(known) == list(range(first, places))


def test_padding_has_no_place(make: MakeTask) -> None:
    for batch in islice(make().evaluation_data(), 3):
        assert batch.places is not None
        assert ((batch.places < 0) == (batch.targets.flatten().numpy() < 0)).all()
