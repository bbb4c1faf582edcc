"""A student beside its teachers on validation data, against torch's own formulas."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from mpi4py import MPI
from torch import Tensor, nn
from torch.nn import functional as F
from training.handmade import ALONE

from hvcod.codistill.outputs import call
from hvcod.codistill.teachers.fixed import numbered
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError
from hvcod.tasks.base import UNKNOWN, Batch, Task, TrainingData
from hvcod.tasks.metrics import divergence
from hvcod.training.validation import Scores, compare, validate

INPUTS, TARGETS = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1)), [0, 2, 1, 1]


class Toy(Task):
    """Two batches, of whose targets two are unknown."""

    def build_model(self) -> nn.Module:
        return nn.Linear(4, 3)

    def training_data(self) -> TrainingData:
        raise NotImplementedError

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        for inputs in INPUTS:
            yield Batch(inputs, torch.tensor([UNKNOWN, *TARGETS, UNKNOWN]))


class Clicks(Toy):
    likelihood = "binary"

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        for inputs in INPUTS:
            yield Batch(inputs, torch.tensor([UNKNOWN, 0, 1, 1, 0, UNKNOWN]))


def distribution(logits: Tensor) -> Tensor:
    both = logits if logits.dim() > 1 else torch.stack([torch.zeros_like(logits), logits], dim=1)
    return both.softmax(-1)


@pytest.mark.parametrize("kind", [Toy, Clicks])
def test_losses_and_disagreement_are_means_over_scored_predictions(kind: type[Task]) -> None:
    task = kind(TrainOptions(), ALONE)
    torch.manual_seed(2)
    student, other = task.build_model(), task.build_model()
    teachers = numbered([other, copy.deepcopy(student)], student, call, None)
    compared = compare(task, student, teachers, torch.device("cpu"))
    with torch.no_grad():
        p, q = (distribution(m(INPUTS.flatten(0, 1))).view(2, 6, -1) for m in (other, student))
    labels = torch.stack([batch.targets for batch in task.evaluation_data()])
    known = labels != UNKNOWN
    p, q, labels = p[known], q[known], labels[known]
    assert compared.loss == pytest.approx(F.nll_loss(q.log(), labels).item())
    assert compared.losses == pytest.approx(
        {-1: F.nll_loss(p.log(), labels).item(), -2: compared.loss}
    )
    nats = (p * (p.log() - q.log())).sum(-1).mean().item()
    assert compared.disagreement == pytest.approx({-1: nats, -2: 0.0}, abs=1e-7)


@pytest.mark.parametrize("kind", [Toy, Clicks])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_part_of_the_data_is_measured_by_itself(kind: type[Task], count: int) -> None:
    """Rows take turns, and the second sequence begins with the second part."""
    task = kind(TrainOptions(validation_parts=count), ALONE)
    torch.manual_seed(2)
    model = task.build_model()
    literal: list[list[float]] = [[] for _ in range(count)]
    with torch.no_grad():
        for sequence, batch in enumerate(task.evaluation_data()):
            logs = distribution(model(batch.inputs)).log()
            for row, label in enumerate(batch.targets.tolist()):
                if label != UNKNOWN:
                    literal[(sequence + row) % count].append(-logs[row, label].item())
    measured = validate([(task, model)], torch.device("cpu"))
    everything = [value for part in literal for value in part]
    assert measured.whole == {"loss": pytest.approx(sum(everything) / 8)}
    means = [pytest.approx(sum(part) / len(part)) for part in literal]
    assert measured.parts == ({"loss": means} if count > 1 else {})
    assert sum(len(part) for part in literal) == 8


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_without_rows_adds_nothing(count: int) -> None:
    task = Toy(TrainOptions(validation_parts=count), ALONE)
    logs, targets = torch.rand(6, 3).log_softmax(1), torch.tensor([[0, 1, 2], [2, 1, 0]])
    with_empty, without = Scores(task), Scores(task)
    for scores in (with_empty, without):
        scores.add(logs, targets, 0)
    with_empty.add(torch.empty(0, 3), torch.empty(0, 3, dtype=torch.int64), 1)
    assert with_empty.measured(MPI.COMM_SELF) == without.measured(MPI.COMM_SELF)


def test_a_part_without_anything_to_score_is_refused() -> None:
    task = Toy(TrainOptions(validation_parts=7), ALONE)
    with pytest.raises(HvcodError, match="--validation-parts 7: part 0 of the validation data has"):
        validate([(task, task.build_model())], torch.device("cpu"))


def test_a_class_without_any_probability_adds_nothing() -> None:
    masked = torch.tensor([[0.5, 0.5, 0.0]]).log()
    meter = divergence()
    meter.add(masked, masked)
    meter.add(masked, torch.tensor([[0.25, 0.25, 0.5]]).log())
    assert meter.value(MPI.COMM_SELF) == pytest.approx(math.log(2) / 2)
