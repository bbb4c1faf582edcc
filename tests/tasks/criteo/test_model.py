"""The click model and its task against a literal computation."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI
from tasks.criteo.datasets import TABLE_ROWS, make_dataset
from torch.nn import functional as F

from hvcod import config
from hvcod.codistill.losses import cross_entropy
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.tasks.criteo import task as module
from hvcod.tasks.criteo.model import ClickModel
from hvcod.tasks.criteo.task import SCORED_ROWS, Criteo
from hvcod.tasks.metrics import UNKNOWN

COMM = MPI.COMM_SELF


def task(
    folder: Path, rank: int = 0, size: int = 1, changed: Mapping[str, object] | None = None
) -> Criteo:
    layers = [Criteo.presets["laptop"], {"data": folder, **(changed or {})}]
    options = config.resolve(TrainOptions, layers, Criteo.Options)
    return Criteo(options, Group(0, 1, rank, size, COMM, 0, 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = 3 * SCORED_ROWS
    return make_dataset(tmp_path_factory.mktemp("rows") / "data", [rows], 2500, 100).folder


def test_a_logit_by_hand() -> None:
    torch.manual_seed(3)
    model = ClickModel(TABLE_ROWS, 2, [3]).double()
    integers = torch.randn(2, 13, dtype=torch.double)
    integers[0, 4] = math.nan
    categories = torch.randint(TABLE_ROWS, (2, 26), dtype=torch.int32)
    logits = model((integers, categories)).tolist()
    weights = {name: value.tolist() for name, value in model.named_parameters()}
    for row in range(2):
        features = [0.0 if math.isnan(x) else x for x in integers[row].tolist()]
        features += [float(math.isnan(x)) for x in integers[row].tolist()]
        for place in categories[row].tolist():
            features += weights["table.weight"][place]
        hidden = [
            max(0.0, bias + sum(w * x for w, x in zip(line, features, strict=True)))
            for line, bias in zip(weights["layers.0.weight"], weights["layers.0.bias"], strict=True)
        ]
        expected = weights["layers.2.bias"][0]
        expected += sum(w * x for w, x in zip(weights["layers.2.weight"][0], hidden, strict=True))
        assert logits[row] == pytest.approx(expected, rel=1e-12)


def test_the_gradient_of_the_table_has_the_rows_of_the_batch() -> None:
    model = ClickModel(TABLE_ROWS, 4, [8])
    categories = torch.tensor([[3] * 13 + [7] * 13], dtype=torch.int32)
    model((torch.zeros(1, 13), categories)).sum().backward()
    gradient = model.table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    assert set(gradient.coalesce().indices().flatten().tolist()) == {3, 7}


def test_the_presets_build_the_papers_layers(data: Path) -> None:
    options = config.resolve(
        TrainOptions, [Criteo.presets["paper"], {"data": data}], Criteo.Options
    )
    model = Criteo(options, Group(0, 1, 0, 1, COMM, 0, 1)).build_model()
    shapes = [tuple(each.shape) for each in model.parameters() if each.dim() == 2]
    assert shapes == [(TABLE_ROWS, 16), (2560, 442), (1024, 2560), (256, 1024), (1, 256)]
    assert (options.optimizer.algorithm, options.optimizer.learning_rate) == ("adagrad", 1e-3)


@pytest.mark.parametrize("hidden", ["", "64,0", "6.5", "-3", "x"])
def test_layers_must_be_numbers_of_units(data: Path, hidden: str) -> None:
    with pytest.raises(UsageError, match=r"model\.hidden"):
        task(data, changed={"model.hidden": hidden})


def test_losses_metrics_and_predictions_agree(data: Path) -> None:
    click = task(data)
    torch.manual_seed(1)
    logits, targets = torch.randn(50, dtype=torch.double) * 3, torch.randint(2, (50,))
    probability = 1 / (1 + (-logits).exp())
    right = torch.where(targets == 1, probability, 1 - probability)
    expected = -right.log().mean()
    torch.testing.assert_close(click.loss(logits, targets), expected)
    logs = click.log_probabilities(logits)
    assert logs.shape == (50, 2)
    assert logs.dtype == torch.float32
    torch.testing.assert_close(click.predictions(logs), probability.float())
    metrics = click.metrics()
    for metric in metrics.values():
        metric.add(logs, targets)
    assert metrics["loss"].value(COMM) == pytest.approx(float(expected), rel=1e-6)
    pairs = probability[targets == 1][:, None] - probability[targets == 0][None, :]
    area = float((pairs > 0).double().mean())
    assert metrics["auc"].value(COMM) == pytest.approx(area, rel=1e-6)
    targets[::2] = UNKNOWN
    torch.testing.assert_close(click.loss(logits, targets), -right[1::2].log().mean())


def test_the_distillation_loss_is_that_of_two_classes(data: Path) -> None:
    click = task(data)
    student = torch.randn(20, requires_grad=True)
    teachers = [torch.randn(20), torch.randn(20)]
    mean = sum((each.sigmoid() for each in teachers), torch.zeros(20)) / 2
    expected = -(mean * F.logsigmoid(student) + (1 - mean) * F.logsigmoid(-student)).mean()
    psi = cross_entropy(student, teachers, click.likelihood)
    torch.testing.assert_close(psi, expected)


def test_one_pass_in_order_with_ids(data: Path) -> None:
    batches = list(task(data).evaluation_data("validation"))
    ids = np.concatenate([np.asarray(batch.ids) for batch in batches])
    first = 3 * SCORED_ROWS - 2600
    assert ids.tolist() == [1000 + first + number for number in range(2500)]
    assert sum(len(batch.targets) for batch in batches) == 2500
    assert [int(batch.inputs[0][0, 0]) + 1000 for batch in batches] == [
        int(np.asarray(batch.ids)[0]) for batch in batches
    ]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_ranks_share_the_batches_of_one(data: Path, size: int) -> None:
    limit = {"validation_examples": 2300}
    whole = list(task(data, changed=limit).evaluation_data("validation"))
    assert sum(len(batch.targets) for batch in whole) == 2300
    for rank in range(size):
        share = list(task(data, rank, size, limit).evaluation_data("validation"))
        for mine, expected in zip(share, whole[rank::size], strict=True):
            assert (np.asarray(mine.ids) == np.asarray(expected.ids)).all()
            torch.testing.assert_close(mine.inputs, expected.inputs, equal_nan=True)


def test_no_row_is_scored_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORED_ROWS", 10)
    folder = make_dataset(tmp_path / "data", [100], validation=53).folder
    for limit in range(1, 60):
        batches = task(folder, changed={"validation_examples": limit}).evaluation_data()
        ids = [int(each) for batch in batches for each in np.asarray(batch.ids)]
        assert len(ids) == len(set(ids)) == min(limit, 53)
        assert 1047 <= min(ids) <= max(ids) < 1100


def test_training_without_a_validation_part_fails_at_the_start(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "data", [600]).folder
    with pytest.raises(HvcodError, match=r"no rows in the part validation; it has training"):
        task(folder).training_data()


def test_an_unknown_part_is_told(data: Path) -> None:
    with pytest.raises(HvcodError, match=r"no rows in the part tset; it has training \(472 rows\)"):
        next(task(data).evaluation_data("tset"))


def test_the_entropy_of_the_click_rate(data: Path) -> None:
    click = task(data, changed={"validation_examples": None})
    labels = click.dataset.column("labels", 472, 2972)
    expected = -np.log(np.where(labels == 1, 0.25, 0.75)).mean()
    assert click.reference() == pytest.approx({"click_rate_entropy": expected})
    assert click.class_frequencies() == pytest.approx([0.75, 0.25])
