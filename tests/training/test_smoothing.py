"""Label smoothing against its literal transcription (paper, section 3.3)."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training.handmade import ALONE, run_in

from hvcod.codistill.schedule import Schedule
from hvcod.codistill.teachers.base import Question
from hvcod.config import CodistillOptions, OptimizerOptions, TrainOptions
from hvcod.errors import HvcodError
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.training.copy import Copy
from hvcod.training.smoothing import smoothing_teachers, term_options

CLASSES, RATES = 3, {"classes": [0.5, 0.3, 0.2], "binary": [0.8, 0.2]}
WEIGHT, STEPS, LEARNING_RATE = 0.25, 5, 0.125


class Stream:
    """The same batch again and again."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def next(self) -> Batch:
        return self._batch

    def state_dict(self) -> dict[str, np.ndarray]:
        return {}

    def load_state_dict(self, state: object) -> None:
        pass


class Toy(Task):
    frequencies: np.ndarray | None = np.array(RATES["classes"])

    def build_model(self) -> nn.Module:
        return nn.Linear(4, CLASSES)

    def training_data(self) -> TrainingData:
        return Stream(batch(CLASSES))

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        yield batch(CLASSES)

    def class_frequencies(self) -> np.ndarray | None:
        return self.frequencies


class Clicks(Toy):
    likelihood, frequencies = "binary", np.array(RATES["binary"])

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))

    def training_data(self) -> TrainingData:
        return Stream(batch(2))

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        yield batch(2)


def batch(classes: int) -> Batch:
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(classes, (7,), generator=generator)
    return Batch(torch.randn(7, 4, generator=generator), targets)


def toy(kind: type[Task], smoothing: str, weight: float | None = None) -> Task:
    sgd = OptimizerOptions("sgd", LEARNING_RATE, momentum=0.0, warmup=0, clip=0.0)
    options = TrainOptions(steps=STEPS, optimizer=sgd, smoothing=smoothing, smoothing_weight=weight)
    return kind(options, ALONE)


def data_of(task: Task) -> tuple[Tensor, Tensor]:
    (only,) = task.evaluation_data()
    return only.inputs, only.targets


def literal_loss(
    logits: Tensor, targets: Tensor, likelihood: str, smoothing: str, weight: float
) -> Tensor:
    """Returns phi(label, q) + weight * (cross entropy of q against the fixed distribution)."""
    if likelihood == "binary":
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
    log_q = logits.softmax(-1).log()
    rates = torch.tensor(RATES[likelihood])
    fixed = rates if smoothing == "unigram" else torch.full_like(rates, 1 / len(rates))
    return F.nll_loss(log_q, targets) - weight * (fixed * log_q).sum(-1).mean()


@pytest.mark.parametrize("smoothing", ["uniform", "unigram"])
@pytest.mark.parametrize("kind", [Toy, Clicks])
def test_a_smoothed_model_learns_what_its_transcription_learns(
    kind: type[Task], smoothing: str, tmp_path: Path
) -> None:
    task = toy(kind, smoothing, WEIGHT)
    mine = Copy(task, run_in(tmp_path), torch.device("cpu"), stop=lambda: False)
    model, (inputs, targets) = copy.deepcopy(mine.model), data_of(task)
    for _ in range(STEPS):
        (losses,) = mine.learn()
        loss = literal_loss(model(inputs), targets, task.likelihood, smoothing, WEIGHT)
        gradients = torch.autograd.grad(loss, [*model.parameters()])
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(LEARNING_RATE * gradient)
        torch.testing.assert_close(losses.task + losses.distill, loss)
        assert losses.weight == WEIGHT
    torch.testing.assert_close(mine.model.state_dict(), model.state_dict())
    assert mine.codistiller.figures(STEPS) == {"teachers": {smoothing: None}, "staleness": {}}
    mine.close(publish=True)


def test_without_a_weight_it_is_a_tenth_and_the_schedule_shapes_it() -> None:
    options = TrainOptions(smoothing="uniform", codistill=CodistillOptions(distill_ramp=4))
    schedule = Schedule(term_options(options), None)
    assert [schedule.weight(step) for step in (1, 2, 4, 5)] == [0.025, 0.05, 0.1, 0.1]
    assert term_options(TrainOptions()) == CodistillOptions()


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        (None, "does not know how frequent the classes are in its training data"),
        (np.array([0.5, 0.0, 0.5]), "class 1 does not occur in the training data"),
    ],
)
def test_classes_of_unknown_frequency_are_refused(
    frequencies: np.ndarray | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "frequencies", frequencies)
    with pytest.raises(HvcodError, match=f"--smoothing unigram.*{message}.*--smoothing uniform"):
        smoothing_teachers(toy(Toy, "unigram"))
    assert len(smoothing_teachers(toy(Toy, "uniform"))) == 1


def test_frequencies_of_other_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "frequencies", np.array([0.5, 0.5]))
    (teacher,) = smoothing_teachers(toy(Toy, "unigram"))
    with pytest.raises(HvcodError, match=r"the unigram distribution has 2 classes.*logits have 3"):
        teacher.answer(Question(None, torch.zeros(7, 3)))


def test_nobody_is_told_that_it_predicts_badly(tmp_path: Path) -> None:
    task = toy(Toy, "uniform", 100.0)
    mine = Copy(task, run_in(tmp_path), torch.device("cpu"), stop=lambda: False)
    for _ in range(STEPS):
        mine.learn()
        _, measured = mine.validate()
    assert measured["teachers"]["uniform"] == pytest.approx(np.log(CLASSES))
    assert mine.codistiller.problems == {}
    mine.close(publish=True)
