"""A stored teacher teaches as the model that made it would."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation.stores import ALONE, make_data, make_models, make_task, predicted, stored
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill.codistiller import Codistiller
from hvcod.codistill.losses import named_loss
from hvcod.codistill.predictions.sampled import Sampled, sample
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.codistill.teachers.fixed import FixedTeacher
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.evaluation.storing import storing
from hvcod.tasks.base import Batch, Task
from hvcod.tasks.criteo.task import Criteo
from hvcod.training.prefetch import Prefetch
from hvcod.training.stored.store import PredictionStore
from hvcod.training.stored.teacher import StoredTeacher, check, with_stored

STEPS, BURN_IN, WEIGHT, RATE = 15, 3, 0.5, 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of both tasks, and stores: of all clicks, and of a sample of text."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    few, storing.FEWEST_SHARDS = storing.FEWEST_SHARDS, 4
    stored(make_models(folder, "criteo"), folder / "clicks")
    stored(make_models(folder, "commoncrawl"), folder / "text", sample=12)
    stored(make_models(folder, "commoncrawl"), folder / "whole", whole=True)
    storing.FEWEST_SHARDS = few
    return folder


def student_of(task: Task) -> nn.Module:
    torch.manual_seed(99)
    model = task.build_model()
    # Layer normalisation of a few units makes a difference in the last bit a large one.
    return model.double() if task.likelihood == "classes" else model


def trained(task: Task, teacher: Teacher, tmp_path: Path) -> Iterator[list[Tensor]]:
    """Yields the weights after each step of a loop with a Codistiller."""
    student = student_of(task)
    options = CodistillOptions(burn_in=BURN_IN, distill_weight=WEIGHT)
    codistiller = Codistiller(
        student,
        ALONE,
        tmp_path,
        options,
        predict=task.predict,
        likelihood=task.likelihood,
        fixed=[teacher],
    )
    updates, hidden = torch.optim.SGD(student.parameters(), lr=RATE), None
    data = Prefetch(with_stored(task.training_data(), [teacher]))
    for _ in range(STEPS):
        batch = data.next()
        logits, hidden = task.predict(student, batch.inputs, hidden)
        loss = task.loss(logits, batch.targets)
        loss = loss + codistiller.loss(logits, batch.inputs, places=batch.places)
        updates.zero_grad()
        loss.backward()
        updates.step()
        codistiller.step()
        yield [parameter.detach().clone() for parameter in student.parameters()]
    data.close()


def trained_literally(task: Task, psi: Any) -> Iterator[list[Tensor]]:
    """Yields the weights of phi + weight * psi(logits, batch), by the book."""
    student, hidden, data = student_of(task), None, task.training_data()
    updates = torch.optim.SGD(student.parameters(), lr=RATE)
    for step in range(1, STEPS + 1):
        batch = data.next()
        logits, hidden = task.predict(student, batch.inputs, hidden)
        loss = task.loss(logits, batch.targets)
        if step > BURN_IN:
            loss = loss + WEIGHT * psi(logits, batch)
        updates.zero_grad()
        loss.backward()
        updates.step()
        yield [parameter.detach().clone() for parameter in student.parameters()]


def test_clicks_are_learned_bit_for_bit_as_from_the_logits_in_half_precision(
    folder: Path, tmp_path: Path
) -> None:
    task, known = make_task(folder, "criteo"), predicted(*make_models(folder, "criteo"))

    def psi(logits: Tensor, batch: Batch) -> Tensor:
        assert batch.places is not None
        taught = torch.stack([known[place] for place in batch.places.tolist()]).half().float()
        return F.binary_cross_entropy_with_logits(logits, taught.sigmoid())

    teacher = StoredTeacher(PredictionStore(folder / "clicks"), "store")
    steps = zip(trained(task, teacher, tmp_path), trained_literally(task, psi), strict=True)
    for ours, theirs in steps:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_clicks_are_learned_as_from_the_model_itself(folder: Path, tmp_path: Path) -> None:
    task, (model,) = make_task(folder, "criteo"), make_models(folder, "criteo")
    live = FixedTeacher(model.model, task.predict, None, "live")
    teacher = StoredTeacher(PredictionStore(folder / "clicks"), "store")
    steps = zip(trained(task, teacher, tmp_path), trained(task, live, tmp_path), strict=True)
    for ours, theirs in steps:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5)


def test_text_is_learned_from_a_sample_as_its_formula_says(folder: Path, tmp_path: Path) -> None:
    task, store = make_task(folder, "commoncrawl", batch_size=4), PredictionStore(folder / "text")

    def psi(logits: Tensor, batch: Batch) -> Tensor:
        assert batch.places is not None
        rows, known = store.rows(batch.places)
        logs = logits.flatten(0, -2).log_softmax(-1)
        drawn = torch.from_numpy(rows["classes"].astype(np.int64))
        if not known.all():  # the student's own
            drawn[~known] = sample(logs[~known].detach(), 12, np.full((~known).sum(), 0.5))
        return -logs.gather(-1, drawn).mean()

    teacher = StoredTeacher(store, "store")
    steps = zip(trained(task, teacher, tmp_path), trained_literally(task, psi), strict=True)
    for ours, theirs in steps:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["text", "whole"])
def test_where_there_is_no_prediction_it_agrees_with_the_student(folder: Path, name: str) -> None:
    teacher = StoredTeacher(PredictionStore(folder / name), "store")
    like = torch.randn(1, 3, 64).requires_grad_()
    answer = teacher.answer(Question(None, like.detach(), np.array([7, 0, -1])))
    assert answer.shape == like.shape
    loss: Any = named_loss("cross-entropy", "classes", False)
    (gradient,) = torch.autograd.grad(loss(like, [answer]), like)
    moved = gradient.abs().amax(-1)[0]
    assert moved[0] > 0.01
    # A sample of the student's own distribution leaves each class off by less than a draw.
    assert (moved[1:] < (1 / 12 if isinstance(answer, Sampled) else 1e-3) / 3).all()


def test_the_training_thread_finds_what_the_data_thread_has_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PredictionStore(folder / "clicks")
    teacher = StoredTeacher(store, "store")
    data = with_stored(make_task(folder, "criteo").training_data(), [teacher])
    batches = [data.next() for _ in range(3)]
    places = [batch.places for batch in batches if batch.places is not None]
    expected = [store.rows(some)[0]["logits"] for some in places]
    monkeypatch.setattr(store, "rows", None)
    for batch, logits in zip(batches, expected, strict=True):
        like = torch.zeros(len(batch.targets))
        answer = teacher.answer(Question(batch.inputs, like, batch.places))
        assert isinstance(answer, Tensor)
        assert torch.equal(answer, torch.from_numpy(logits.astype(np.float32)))


def test_batches_that_are_never_asked_for_do_not_pile_up(folder: Path) -> None:
    teacher = StoredTeacher(PredictionStore(folder / "clicks"), "store")
    data = with_stored(make_task(folder, "criteo").training_data(), [teacher])
    for _ in range(20):
        data.next()
    assert len(teacher._found) <= 4


def test_it_is_known_by_the_digest_of_its_predictions(folder: Path) -> None:
    teacher = StoredTeacher(PredictionStore(folder / "clicks"), "store")
    teacher.load_state_dict(teacher.state_dict())
    with pytest.raises(HvcodError, match=r"has other predictions than .*clicks"):
        StoredTeacher(PredictionStore(folder / "text"), "b").load_state_dict(teacher.state_dict())


@pytest.mark.parametrize(
    ("store", "name", "options", "message"),
    [
        ("clicks", "commoncrawl", {}, "of the task criteo, that of this run is commoncrawl"),
        ("text", "commoncrawl", {"codistill__distill_loss": "kl"}, "kl needs the logits of all"),
        (
            "text",
            "commoncrawl",
            {"codistill__temperature": 2.0},
            "with --temperature 1, and this",
        ),
        ("clicks", "criteo", {"data": "elsewhere"}, "not known whether .* the same examples"),
    ],
)
def test_a_store_that_does_not_fit_is_refused(
    folder: Path, store: str, name: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if "data" in options:
        make_data(tmp_path)
        options["data"] = tmp_path / name
    task = make_task(folder, name, **options)
    with pytest.raises(HvcodError, match=f"--teacher .*{store}: .*{message}"):
        check(PredictionStore(folder / store), task)


def test_what_fits_is_not_refused(folder: Path) -> None:
    check(PredictionStore(folder / "clicks"), make_task(folder, "criteo"))
    for more in ({}, {"codistill__temperature": 2.0}, {"codistill__distill_loss": "kl"}):
        check(PredictionStore(folder / "whole"), make_task(folder, "commoncrawl", **more))


def test_batches_that_do_not_fit_are_refused(folder: Path) -> None:
    teacher = StoredTeacher(PredictionStore(folder / "text"), "store")
    for like, places, message in (
        (torch.zeros(3, 64), None, "batches must tell their places"),
        (torch.zeros(3, 64), np.arange(2), "has 2 predictions .* for a batch of"),
        (torch.zeros(2, 63), np.arange(2), "a sample of 12 of 64 classes each.* for a batch of"),
    ):
        with pytest.raises(HvcodError, match=message):
            teacher.answer(Question(None, like, places))


def test_a_task_without_places_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Criteo, "places_in", lambda task, part: None)
    with pytest.raises(HvcodError, match=r"criteo gives its predictions no places \(see Batch\.pl"):
        check(PredictionStore(folder / "clicks"), make_task(folder, "criteo"))
