"""The noise scale as it is measured in training."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MpiRun
from torch import Tensor, nn
from training.handmade import ALONE
from training.toy import train

from hvcod.codistill.parts import IndivisibleError
from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.errors import UsageError
from hvcod.tasks.base import Batch
from hvcod.training.noise.logged import logged
from hvcod.training.noise.meter import WINDOW, NoiseMeter, window_of
from hvcod.training.noise.scale import Reading, scale_of
from hvcod.training.record.lines import to_line
from hvcod.training.sgd.norms import square_of
from hvcod.training.sgd.synchronous import Synchronous

ROWS, SIZE = 8, 40
LONG: dict[str, Any] = {"steps": 24, "model.dropout": 0.25, "log_interval": 4}


pytestmark = pytest.mark.usefixtures("what_a_launch_changes")


class Slope(nn.Module):
    """Its gradient at any weights is the mean of the rows that it is given, in two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(SIZE, 1, sparse=True)
        self.weight = nn.Parameter(torch.zeros(SIZE))

    def forward(self, rows: Tensor) -> Tensor:
        everything = self.table(torch.arange(SIZE))[:, 0]
        first, second = rows.chunk(2, dim=1)
        slope: Tensor = (first @ everything + second @ self.weight).mean()
        return slope


def measured(steps: int, precision: str = "fp32", accumulate: int = 1) -> list[Reading]:
    """The readings of a group of one rank, where |G|^2 = 4 and tr(S) = 160: N = 40, N / B = 5."""
    torch.manual_seed(7)
    options = TrainOptions(
        steps=steps,
        noise_interval=1,
        batch_size=ROWS,
        accumulate=accumulate,
        precision=precision,
        optimizer=OptimizerOptions("adagrad", clip=0.01),
    )
    algorithm = Synchronous(model := Slope(), ALONE, options)
    meter, taken = NoiseMeter(algorithm.updates, ALONE, options), []
    for _ in range(steps):
        rows = 2 / math.sqrt(2 * SIZE) + math.sqrt(160 / (2 * SIZE)) * torch.randn(ROWS, 2 * SIZE)
        parts = rows.chunk(meter.begin())
        for part in parts[:-1]:
            algorithm.accumulate(model(part) / len(parts))
        meter.end(algorithm.step(model(parts[-1]) / len(parts)), taught=False)
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        assert (
            float(square_of(gradients)) <= 0.01001**2
        )  # it is clipped, and what was measured was not
        taken += [Reading(*each) for each in meter.state_dict()["window"][-1:]]
    return taken


def test_halves_of_a_batch_give_the_true_noise_scale_without_bias() -> None:
    found = scale_of(taken := measured(400))
    assert found.low <= 40 <= found.high < 2 * found.low
    for values, true in zip(zip(*taken, strict=True), (4.0, 160.0), strict=True):
        numbers = torch.tensor(values)
        assert abs(float(numbers.mean()) - true) < 4 * float(numbers.std()) / 20


def test_neither_the_scale_of_the_loss_nor_more_parts_change_a_reading() -> None:
    plain = measured(20)
    for others in (measured(20, "fp16"), measured(20, accumulate=4), measured(20, accumulate=2)):
        torch.testing.assert_close(torch.tensor(others), torch.tensor(plain), rtol=1e-4, atol=1e-3)


def test_squares_of_many_numbers_are_exact() -> None:
    torch.manual_seed(1)
    numbers = torch.randn(3_000_001)
    assert float(square_of([numbers])) == pytest.approx(
        float(numbers.double().square().sum()), 1e-6
    )
    rows = torch.sparse_coo_tensor(torch.tensor([[1, 1, 0]]), torch.tensor([1.0, 2.0, 4.0]), (3,))
    assert float(square_of([rows, None, torch.tensor(2.0)])) == 9 + 16 + 4
    assert float(square_of([numbers[:0]])) == 0


def test_ranks_give_the_true_noise_scale_and_the_same_updates(fast_mpirun: MpiRun) -> None:
    assert fast_mpirun(2, "noise.py", 1).stdout == "ok\n" * 2


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("groups", [1, 2])
def test_so_do_more_ranks_and_groups(fast_mpirun: MpiRun, groups: int) -> None:
    assert fast_mpirun(4, "noise.py", groups).stdout == "ok\n" * 4


def lines(run: Path) -> list[dict[str, Any]]:
    text = (run / "group-0/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def noise(run: Path) -> list[dict[str, Any]]:
    return [line["noise"] for line in lines(run) if "noise" in line]


def test_a_step_that_is_measured_is_that_of_two_parts(tmp_path: Path) -> None:
    (parts,) = train(tmp_path / "parts", **LONG, accumulate=2)
    (halves,) = train(tmp_path / "halves", **LONG, noise_interval=1)
    assert halves["weights"] == parts["weights"]
    shown = noise(tmp_path / "halves")
    assert [each["readings"] for each in shown] == [4] * 6
    assert [each["window"] for each in shown] == [2, 4, 6, 8, 10, 12]
    assert {(each["batch"], each["loss"]) for each in shown} == {(8, "task")}
    newer = shown[3:]
    mean = sum(each["variance"] for each in newer) / sum(each["gradient"] for each in newer)
    assert shown[-1]["scale"] == pytest.approx(max(0.0, mean))
    assert noise(tmp_path / "parts") == []


def test_a_run_that_was_stopped_goes_on_with_its_readings(tmp_path: Path) -> None:
    options = {**LONG, "noise_interval": 2, "log_interval": 6, "save_interval": 100}
    (whole,) = train(tmp_path / "whole", **options)
    assert train(tmp_path / "run", 9, **options)[0]["ended"] == "preempted"
    (resumed,) = train(tmp_path / "run", **options)
    assert resumed["weights"] == whole["weights"]
    assert noise(tmp_path / "run") == noise(tmp_path / "whole")
    assert len(noise(tmp_path / "whole")) == 4


def test_what_was_logged_is_read_back_as_far_as_the_loss_was_the_same(tmp_path: Path) -> None:
    assert logged(tmp_path, 0) == []
    lines = [
        {"step": step, "noise": {"gradient": 1.0, "variance": float(step), "loss": loss}}
        for step, loss in enumerate(["task", "other", "other", "other"])
    ]
    (tmp_path / "group-0").mkdir()
    more: list[dict[str, Any]] = [*lines, {"step": 4}, {"step": 5, "noise": 3}]
    written = b"".join(map(to_line, more))
    (tmp_path / "group-0/metrics.jsonl").write_bytes(written)
    assert logged(tmp_path, 0) == [Reading(1.0, float(step)) for step in (2, 3)]


def test_measuring_may_begin_and_end_when_a_run_is_resumed(tmp_path: Path) -> None:
    options = {**LONG, "save_interval": 100}
    train(tmp_path / "run", 6, **options)
    train(tmp_path / "run", 6, **options, noise_interval=1)
    train(tmp_path / "run", **options)
    steps = [line["step"] for line in lines(tmp_path / "run") if "noise" in line]
    assert steps == [8, 12]


def test_readings_of_another_loss_are_not_mixed(tmp_path: Path) -> None:
    options = {"groups": 2, "codistill.exchange": "in-process", "log_interval": 1}
    train(tmp_path / "run", **options, noise_interval=1)
    shown = [(each["loss"], each["window"]) for each in noise(tmp_path / "run")]
    taught = [window for loss, window in shown if loss == "task and distillation"]
    assert shown[0] == ("task", 1)
    assert taught == [(1 + count) // 2 for count in range(1, len(taught) + 1)]
    assert len(taught) > 9


def test_readings_begin_once_batches_are_whole(tmp_path: Path) -> None:
    train(tmp_path / "run", **LONG, noise_interval=1, batch_warmup=10)
    first = noise(tmp_path / "run")[0]
    assert first["readings"] < 4
    assert first["batch"] == 8


def test_a_batch_that_cannot_be_halved_is_refused(tmp_path: Path) -> None:
    message = "3 examples do not divide into halves: choose a batch that does, or leave it out"
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "run", batch_size=3, noise_interval=5)
    with pytest.raises(UsageError, match="9 examples do not divide into halves and into the p"):
        train(tmp_path / "other", batch_size=9, accumulate=3, noise_interval=5)


def test_what_cannot_be_halved_names_the_option() -> None:
    odd = Batch(torch.zeros(4, 2), torch.zeros(3))
    for interval, message in [(1, "--noise-interval 1: .* shape .3,. .*leave out"), (2, "^a tens")]:
        options = TrainOptions(noise_interval=interval, batch_size=4)
        updates = Synchronous(Slope(), ALONE, options).updates
        meter = NoiseMeter(updates, ALONE, options)
        meter.begin()
        with pytest.raises(IndivisibleError, match=message), meter.explained():
            odd.parts(2)


def test_the_window_is_bounded() -> None:
    assert len(measured(2 * WINDOW + 3)) == 2 * WINDOW + 3
    assert [window_of(count) for count in (1, 2, 3, 127, 128, 1000)] == [1, 1, 2, 64, 64, 64]
