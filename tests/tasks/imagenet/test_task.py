"""The task: its recipe, its evaluation, its built-in data, and teachers with their statistics."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI
from tasks.imagenet.pictures import class_files, packed, picture, write_files

from hvcod import config
from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.model import GroupTeacher, TeacherSpec, copy_of
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.tasks.base import UNKNOWN, Batch
from hvcod.tasks.imagenet.preparation.builtin import PER_CLASS, SHAPES, draw
from hvcod.tasks.imagenet.resnet import PlainNet, ResNet
from hvcod.tasks.imagenet.task import EVALUATION_BATCH, ImageNet
from hvcod.tensorfile.format import specification
from hvcod.training.sgd.schedule import learning_rate, weight_decay


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """230 validation images, and a test part of which some have no label."""
    folder = tmp_path_factory.mktemp("task")
    files = class_files(["cat", "dog"], 20, "train/") | class_files(["cat", "dog"], 115, "val/")
    files |= {f"test/{n}.jpg": picture(n) for n in range(3)}
    packed([write_files(folder / "data", files)], folder / "out")
    return folder / "out"


def options(preset: str, **changed: Any) -> TrainOptions:
    layers = [ImageNet.presets[preset], {"task": "imagenet", **changed}]
    found: TrainOptions = config.resolve(TrainOptions, layers, ImageNet.Options)
    return found


def task(data: Path, rank: int = 0, ranks: int = 1, **changed: Any) -> ImageNet:
    layer = {key.replace("__", "."): value for key, value in changed.items()}
    group = Group(0, 1, rank, ranks, MPI.COMM_SELF, rank, 1)
    return ImageNet(options("laptop", data=data, **layer), group)


def test_the_papers_preset_is_the_recipe_of_goyal() -> None:
    chosen = options("paper")
    optimizer, batch = chosen.optimizer, chosen.group_batch_size or 0
    rate = [
        learning_rate(step, chosen.steps, batch, optimizer) for step in (390, 391, 2416, 2417, 7249)
    ]
    # 0.1 for every 256 of the batch, a tenth of it at 30, 60 and 80 of 90 epochs.
    assert rate == pytest.approx([6.4, 6.4, 6.4, 0.64, 0.0064])
    assert learning_rate(0, chosen.steps, batch, optimizer) == pytest.approx(6.4 / 391)
    assert {weight_decay(step, chosen.steps, optimizer) for step in range(7250)} == {1e-4}
    assert (batch, chosen.codistill.burn_in, chosen.steps) == (16384, 3000, 7250)
    assert 5 * 1_281_167 / batch == pytest.approx(optimizer.warmup, abs=0.5)
    assert (optimizer.algorithm, optimizer.momentum) == ("sgd", 0.9)
    assert chosen.model.zero_gamma


def test_the_preset_of_the_later_finding_decays_less_after_each_drop() -> None:
    chosen = options("paper-decay")
    decay = [weight_decay(s, chosen.steps, chosen.optimizer) for s in (0, 2416, 2417, 4834, 7249)]
    assert decay == [1e-4, 1e-4, 1e-5, 0, 0]
    others = {**ImageNet.presets["paper-decay"]}
    del others["optimizer.weight_decay_drops"]
    assert others == ImageNet.presets["paper"]


@pytest.mark.parametrize("kind", ["resnet50", "resnet18", "small", "plain"])
def test_every_kind_of_network_is_built_with_the_classes_of_the_data(data: Path, kind: str) -> None:
    model = task(data, model__kind=kind).build_model()
    assert isinstance(model, PlainNet if kind == "plain" else ResNet)
    assert model.classifier.out_features == 2


def test_the_share_that_is_dropped_is_an_option(data: Path) -> None:
    for kind in ("resnet18", "small", "plain"):
        model = task(data, model__kind=kind, model__dropout=0.25).build_model()
        assert model.get_submodule("dropout").p == 0.25


def test_the_sizes_of_the_small_network_are_options(data: Path) -> None:
    model = task(data, model__widths="8,24", model__depth=2).build_model()
    assert isinstance(model, ResNet)
    assert (len(model.blocks), model.classifier.in_features) == (4, 24)


@pytest.mark.parametrize("widths", ["", "0,8", "8,1.5", "-8"])
def test_widths_that_are_none_are_refused(data: Path, widths: str) -> None:
    with pytest.raises(UsageError, match=r"model\.widths=.*whole numbers from 1"):
        task(data, model__widths=widths).build_model()


def gathered(batches: list[list[Batch]]) -> dict[str, tuple[int, bytes]]:
    return {
        str(name): (int(target), pixels.numpy().tobytes())
        for mine in batches
        for batch in mine
        for name, target, pixels in zip(batch.ids or [], batch.targets, batch.inputs, strict=True)
    }


@pytest.mark.parametrize("ranks", [2, 5])
def test_evaluation_is_the_same_batches_for_any_number_of_ranks(data: Path, ranks: int) -> None:
    alone = list(task(data).evaluation_data())
    assert [len(batch.targets) for batch in alone] == [EVALUATION_BATCH, EVALUATION_BATCH, 30]
    several = [list(task(data, rank, ranks).evaluation_data()) for rank in range(ranks)]
    dealt = [several[n % ranks][n // ranks] for n in range(3)]
    for one, other in zip(alone, dealt, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.inputs, other.inputs)
    assert len(gathered([alone])) == 230


def test_fewer_examples_are_spread_over_the_part(data: Path) -> None:
    (batch,) = task(data, validation_examples=10).evaluation_data()
    assert batch.targets.tolist() == [0] * 5 + [1] * 5


def test_a_part_may_have_no_labels(data: Path) -> None:
    (batch,) = task(data).evaluation_data("test")
    assert batch.targets.tolist() == [UNKNOWN] * 3
    assert batch.ids == ["test/0.jpg", "test/1.jpg", "test/2.jpg"]


def test_a_part_that_is_not_there_is_named_with_those_that_are(data: Path, tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match="no images in a part nonsense; it has: training, valid"):
        list(task(data).evaluation_data("nonsense"))
    files = class_files(["cat", "dog"], 3)
    packed([write_files(tmp_path / "data", files)], tmp_path / "out", validation_fraction=0.0)
    with pytest.raises(HvcodError, match="no images in a part validation; it has: training"):
        list(task(tmp_path / "out").evaluation_data())
    with pytest.raises(HvcodError, match="no images in a part validation"):
        task(tmp_path / "out").training_data()


def test_label_smoothing_is_part_of_the_training_loss_alone(data: Path) -> None:
    logits, targets = torch.tensor([[2.0, -1.0], [0.5, 0.0]]), torch.tensor([0, UNKNOWN])
    plain, smooth = task(data), task(data, model__label_smoothing=0.2)
    logs = logits.log_softmax(1)
    torch.testing.assert_close(plain.loss(logits, targets), -logs[0, 0])
    expected = -(0.9 * logs[0, 0] + 0.1 * logs[0, 1])
    torch.testing.assert_close(smooth.loss(logits, targets), expected)
    metric = smooth.metrics()["loss"]
    metric.add(logs[:1], targets[:1])
    assert metric.value(MPI.COMM_SELF) == pytest.approx(-float(logs[0, 0]))


def test_the_reference_is_the_entropy_of_the_classes(data: Path) -> None:
    assert task(data).reference()["class_entropy"] == pytest.approx(np.log(2))
    assert task(data).class_frequencies() == pytest.approx([0.5, 0.5])


def test_a_teacher_answers_with_its_own_published_statistics(data: Path) -> None:
    """In evaluation mode, whatever the batch, and without a trace in the student."""
    torch.manual_seed(0)
    mine = task(data, model__widths="8,8")
    student, other = mine.build_model(), mine.build_model()
    images = torch.randint(256, (16, 3, 16, 16), dtype=torch.uint8)
    for _ in range(5):
        other(255 - images)  # other statistics than the student's
    spec = TeacherSpec(1, lambda: copy_of(student), specification(student.state_dict()))
    teacher = GroupTeacher(spec, mine.predict, None)
    teacher.load(50, {name: each.clone() for name, each in other.state_dict().items()})
    before = {name: each.clone() for name, each in student.state_dict().items()}
    like = torch.zeros(16, 10)
    answer = teacher.answer(Question(images, like))
    part = teacher.answer(Question(images[:3], like[:3]))
    other.eval()
    with torch.no_grad():
        torch.testing.assert_close(answer, other(images))
    torch.testing.assert_close(part, answer[:3])
    assert all(torch.equal(before[name], each) for name, each in student.state_dict().items())
    student.eval()
    student.load_state_dict(
        other.state_dict() | {name: each for name, each in before.items() if "running" in name}
    )
    with torch.no_grad():
        assert (student(images) - answer).abs().max() > 0.01  # the statistics mattered


def test_built_in_images_follow_from_their_numbers() -> None:
    assert draw("star", 7, 3) == draw("star", 7, 3) != draw("star", 7, 4)
    assert len(SHAPES) == 10


def test_without_data_there_are_built_in_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HVCOD_CACHE", str(tmp_path))
    monkeypatch.setattr("hvcod.tasks.imagenet.preparation.builtin.PER_CLASS", 20)
    group = Group(0, 1, 0, 1, MPI.COMM_SELF, 0, 1)
    with caplog.at_level("INFO"):
        found = ImageNet(options("laptop"), group)
    assert re.search("no --data given: training on built-in images", caplog.text)
    assert found.dataset.classes == sorted(SHAPES)
    parts = found.dataset.parts
    assert (len(parts["training"]), len(parts["validation"])) == (180, 20)
    assert PER_CLASS == 800


def test_order_and_crops_follow_from_their_own_seed(data: Path) -> None:
    both, other, ours = (
        task(data, **seeds).training_data().next().inputs
        for seeds in ({"seed": 5}, {"seed": 6}, {"seed": 6, "order_seed": 5})
    )
    assert torch.equal(both, ours)
    assert not torch.equal(both, other)
