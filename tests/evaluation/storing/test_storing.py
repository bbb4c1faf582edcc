"""Stores hold what the models predict, whoever writes them and however often they are stopped."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation.stores import OUTPUTS, make_data, make_models, predicted, stored, storing_of
from torch import Tensor

from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import Sampled
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.models import Trained
from hvcod.evaluation.options import StoreOptions
from hvcod.evaluation.storing import shards, storing
from hvcod.evaluation.storing.storing import packing_of
from hvcod.tasks.base import Batch
from hvcod.tasks.columns import Columns
from hvcod.tasks.criteo.task import Criteo
from hvcod.training.stored.store import PredictionStore, is_store

Models = Callable[[str, int], list[Trained]]


@pytest.fixture(autouse=True)
def few_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "FEWEST_SHARDS", 4)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Returns some untrained models of a task."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return partial(make_models, folder)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["commoncrawl", "criteo"])
def test_whole_predictions_are_found_by_their_places(
    models: Models, name: str, tmp_path: Path
) -> None:
    store = stored(models(name, 1), tmp_path / "store", whole=True)
    expected = predicted(*models(name, 1))
    assert len(store) == len(expected)
    order = np.random.default_rng(1).permutation(list(expected))
    rows, known = store.rows(order)
    assert known.all()
    there = torch.stack([expected[place] for place in order.tolist()])
    unpacked = store.packing.unpack(rows)
    assert isinstance(unpacked, Tensor)
    # Batches of another size add up in another order.
    torch.testing.assert_close(unpacked, there, rtol=1e-3, atol=1e-3)


def test_places_without_a_prediction_are_told(models: Models, tmp_path: Path) -> None:
    store = stored(models("commoncrawl", 1), tmp_path / "store", sample=3)
    places = models("commoncrawl", 1)[0].task.places_in("training")
    assert places is not None
    asked = np.array([places, 1, -1, 0, 10**12, places - 1])
    rows, known = store.rows(asked)
    assert known.tolist() == [False, True, False, False, False, True]
    assert not rows["classes"][~known].any()


def test_a_sample_is_one_of_the_models_distribution(models: Models, tmp_path: Path) -> None:
    store = stored(models("commoncrawl", 1), tmp_path / "store", sample=200, temperature=2.0)
    assert store.temperature == 2.0
    expected = predicted(*models("commoncrawl", 1))
    places = np.arange(1, 200)
    drawn = store.packing.unpack(store.rows(places)[0])
    assert isinstance(drawn, Sampled)
    softened = torch.stack([(expected[place] / 2).softmax(-1) for place in places.tolist()])
    counts = 200 * drawn.dense(torch.float32)
    assert ((counts - 200 * softened).abs() < 1.01).all()


@pytest.mark.parametrize(("name", "temperature"), [("commoncrawl", 2.0), ("criteo", 1.0)])
def test_the_mean_of_several_models_is_that_of_their_distributions(
    models: Models, name: str, temperature: float, tmp_path: Path
) -> None:
    three = models(name, 3)
    form: dict[str, Any] = {"whole": True, "temperature": temperature}
    store = stored(three, tmp_path / "store", **form)
    assert (store.temperature, len(store.teachers)) == (temperature, 3)
    places = np.arange(1, 50)
    mean = store.packing.unpack(store.rows(places)[0])
    assert isinstance(mean, Tensor)
    logits = [predicted(model) for model in three]
    for place, ours in zip(places.tolist(), mean / temperature, strict=True):
        theirs = torch.stack([each[place] / temperature for each in logits])
        binary = name == "criteo"
        expected = (theirs.sigmoid() if binary else theirs.softmax(-1)).mean(0)
        found = ours.sigmoid() if binary else ours.softmax(-1)
        torch.testing.assert_close(found, expected, rtol=5e-3, atol=1e-6)


def test_files_are_cut_and_pieces_are_checked(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stored(models("criteo", 1), tmp_path / "one")
    monkeypatch.setattr(shards, "FILE_BYTES", 3000)
    cut = stored(models("criteo", 1), tmp_path / "cut")
    files = sorted(path.name for path in (tmp_path / "cut/shards").iterdir())
    assert files[:2] == ["00000-00.h5", "00000-01.h5"]
    places = np.arange(len(whole))
    assert np.array_equal(cut.rows(places)[0], whole.rows(places)[0])
    file = next(path for path in (tmp_path / "cut/shards").iterdir())
    changed = bytearray(file.read_bytes())
    changed[changed.find(Columns(file).read("predictions").tobytes()) + 5] ^= 1
    file.write_bytes(changed)
    with pytest.raises(HvcodError, match=r"is damaged: predictions .* do not match their checksum"):
        PredictionStore(tmp_path / "cut").rows(places)


def dying(model: Trained, batches: int) -> Trained:
    """Returns a model that fails at a batch."""
    left = [batches]

    def count(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    mortal = copy.deepcopy(model.model)
    mortal.register_forward_pre_hook(count)
    return replace(model, model=mortal)


@pytest.mark.parametrize(("name", "batches"), [("commoncrawl", 3), ("criteo", 2), ("criteo", 5)])
def test_an_interrupted_store_is_finished_with_the_same_bytes(
    models: Models, name: str, batches: int, tmp_path: Path
) -> None:
    form: dict[str, Any] = {"sample": 5} if name == "commoncrawl" else {}
    once, again = tmp_path / "once", tmp_path / "again"
    stored(models(name, 1), once, **form)
    (model,) = models(name, 1)
    with pytest.raises(KeyboardInterrupt):
        # The first batch shows the number of classes.
        extra = 1 if name == "commoncrawl" else 0
        stored([dying(model, batches + extra)], again, **form)
    assert not is_store(again)
    with pytest.raises(HvcodError, match="no finished data of `hvcod predict --teacher-store`"):
        PredictionStore(again)
    (again / "shards/00000-00.h5.x.tmp").write_bytes(b"half")
    stored(models(name, 1), again, **form)
    assert content(again) == content(once)


def test_a_store_that_is_there_is_neither_written_again_nor_replaced(
    models: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    before = stored(models("criteo", 1), folder).digest
    (model,) = models("criteo", 1)
    assert stored([dying(model, 1)], folder).digest == before
    with pytest.raises(UsageError, match=r"--teacher-store .*holds a finished dataset made"):
        stored(models("criteo", 2), folder)
    averaged = replace(model, model=models("criteo", 2)[1].model)
    with pytest.raises(UsageError, match=r"holds a finished dataset made .*teachers"):
        stored([averaged], folder)
    narrow = copy.copy(model.task)
    narrow.options = replace(narrow.options, precision="bf16")
    with pytest.raises(UsageError, match=r"holds a finished dataset made .*precision"):
        stored([replace(model, task=narrow)], folder)
    storing_of(models("criteo", 2), folder).clear()
    assert stored(models("criteo", 2), folder).digest != before
    other = tmp_path / "other"
    other.mkdir()
    storing_of(models("criteo", 1), other).clear()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, so it is not deleted"):
        storing_of(models("criteo", 1), other).clear()
    with pytest.raises(UsageError, match=r"already holds notes\.txt, which hvcod did not write"):
        stored(models("criteo", 1), other)


def test_the_usual_form_depends_on_the_classes(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, clicks = models("commoncrawl", 1), models("criteo", 1)
    assert packing_of(clicks, StoreOptions()) == Packing(None)
    assert packing_of(text, StoreOptions()) == Packing(OUTPUTS)
    assert packing_of(text, StoreOptions(top_k=7)) == Packing(OUTPUTS, "top", 7)
    monkeypatch.setattr(storing, "MOST_WHOLE", OUTPUTS - 1)
    assert packing_of(text, StoreOptions()) == Packing(OUTPUTS, "sample", 50)
    assert packing_of(text, StoreOptions(whole=True)) == Packing(OUTPUTS)
    with pytest.raises(UsageError, match="a yes or no are whole"):
        packing_of(clicks, StoreOptions(sample=5))


def test_a_task_without_places_is_refused(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Criteo, "places_in", lambda task, part: None)
    with pytest.raises(UsageError, match=r"does not say which prediction is which: give Batch\.pl"):
        stored(models("criteo", 1), tmp_path / "store")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (lambda batch: batch.targets.numpy(), r"predicts its place [01] twice"),
        (lambda batch: batch.places[1:], r"has \d+ places and \d+ predictions"),
        (lambda batch: None, r"does not say which prediction is which"),
    ],
    ids=["twice", "fewer", "none"],
)
def test_places_that_are_no_places_are_refused(
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: Callable[[Batch], Any],
    message: str,
) -> None:
    given = Criteo.evaluation_data

    def evaluation_data(task: Criteo, part: str = "validation") -> Iterator[Batch]:
        return (replace(batch, places=places(batch)) for batch in given(task, part))

    monkeypatch.setattr(Criteo, "evaluation_data", evaluation_data)
    with pytest.raises(HvcodError, match=message):
        stored(models("criteo", 1), tmp_path / "store")
