"""What is measured of predictions, by hand and over any number of shares."""

import math

import pytest
import torch
from mpi4py import MPI
from torch import Tensor

from hvcod.tasks.metrics import AreaUnderCurve, Metric, accuracy, negative_log_likelihood


def measured(metric: Metric, probabilities: list[list[float]], targets: list[int]) -> float:
    logs, right = torch.tensor(probabilities).log(), torch.tensor(targets)
    for rows in (slice(0, 1), slice(1, None)):
        metric.add(logs[rows], right[rows])
    return metric.value(MPI.COMM_SELF)


def clicks(probabilities: list[float]) -> list[list[float]]:
    return [[1 - each, each] for each in probabilities]


def test_log_loss_and_accuracy() -> None:
    found = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]]
    loss = measured(negative_log_likelihood(), found, [0, 1, 0])
    assert loss == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.2)) / 3)
    assert measured(accuracy(), found, [0, 1, 0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("scores", "targets", "area"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 0.0),
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], 0.5),
        ([0.2, 0.7, 0.7, 0.9], [0, 0, 1, 1], 0.875),  # half a tie
    ],
)
def test_area_under_the_curve(scores: list[float], targets: list[int], area: float) -> None:
    assert measured(AreaUnderCurve(), clicks(scores), targets) == pytest.approx(area)


def test_what_cannot_be_measured_is_no_number() -> None:
    assert math.isnan(measured(AreaUnderCurve(), clicks([0.2, 0.7]), [1, 1]))
    assert math.isnan(AreaUnderCurve().value(MPI.COMM_SELF))
    assert math.isnan(negative_log_likelihood().value(MPI.COMM_SELF))


def test_a_mean_does_not_depend_on_who_had_which_batch() -> None:
    values: Tensor = torch.rand(1000, 2, generator=torch.Generator().manual_seed(1)).log()
    targets = torch.zeros(1000, dtype=torch.long)
    found = set()
    for order in (torch.arange(1000), torch.arange(999, -1, -1)):
        metric = negative_log_likelihood()
        for row in order.tolist():
            metric.add(values[row : row + 1], targets[row : row + 1])
        found.add(metric.value(MPI.COMM_SELF))
    assert len(found) == 1
