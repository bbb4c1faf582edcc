"""The lines that validations leave in the metrics of a run, whole and after an interruption."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training.toy import Cell, batch, train

from hvcod.groups.communicator import Alone
from hvcod.runs.curves import read_curves
from hvcod.training.finished.weights import Weights

OPTIONS: dict[str, Any] = {
    "codistill.exchange": "in-process",
    "groups": 2,
    "average": 0.9,
    "validate_average": True,
    "validation_parts": 2,
    "validate_ensemble": True,
    "save_interval": 9,
    "model.dropout": 0.25,
}

MORE = ("validation_parts", "validation_ensemble")


BYTES = ("published_bytes", "taken_bytes", "allreduce_bytes")


def validations(run: Path, group: int) -> list[dict[str, Any]]:
    """The lines of validations, without the times."""
    text = (run / f"group-{group}/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines() if "validation_loss" in line]
    return [{k: v for k, v in line.items() if k not in ("wall_s", "restarts")} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(run, **OPTIONS)
    return run


def probabilities(run: Path, group: int, step: int, average: bool) -> Tensor:
    """What a group predicted for the validation data after a step, by the state that it saved."""
    path = run / f"group-{group}/state/step-{step:08}.h5"
    model = Cell(0.25).eval()
    weights = Weights(path, Alone(), average=average)
    model.load_state_dict(weights.hand_out(model.state_dict(), "is tested"))
    inputs = batch(1, rows=64).inputs
    with torch.no_grad():
        logits, _ = model(inputs, inputs.new_zeros(64, 16))
    predicted: Tensor = logits.softmax(-1)
    return predicted


@pytest.mark.parametrize(("average", "name"), [(False, "loss"), (True, "average_loss")])
def test_the_ensemble_is_of_all_groups_after_the_same_step(
    whole: Path, average: bool, name: str
) -> None:
    targets = batch(1, rows=64).targets
    for line in validations(whole, 1):
        of_groups = [probabilities(whole, group, line["step"], average) for group in range(2)]
        losses = -torch.stack(of_groups).mean(0)[torch.arange(64), targets].log()
        assert line[f"validation_ensemble_{name}"] == pytest.approx(losses.mean().item(), rel=1e-6)
        halves = [pytest.approx(losses[half::2].mean().item(), rel=1e-6) for half in range(2)]
        assert line["validation_parts"][f"ensemble_{name}"] == halves
    assert "ensemble_loss" not in validations(whole, 0)[0]["validation_parts"]


def test_nothing_is_scored_where_a_group_has_ended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "group-0").mkdir(parents=True)
    (run / "group-0/config.toml").write_text("[optimizer]\nlearning_rate = 1e38\n")
    ends = [each["ended"] for each in train(run, **OPTIONS)]
    assert ends == ["failed", "finished"]
    for line in validations(run, 1):
        assert line["validation_loss"]
        assert "validation_ensemble_loss" not in line


def test_each_metric_is_there_for_each_part(whole: Path) -> None:
    for line in validations(whole, 0):
        assert line["validation_parts"].keys() == {"loss", "average_loss"}
        for name, parts in line["validation_parts"].items():
            # Halves of 32 rows each.
            assert line[f"validation_{name}"] == pytest.approx(sum(parts) / 2, rel=1e-6)


def test_curves_are_read_by_part(whole: Path) -> None:
    for group in read_curves(whole):
        lines = validations(whole, group.group)
        for name in ("loss", "average_loss"):
            for index, curve in enumerate(group.parts[f"validation_{name}"]):
                assert curve.steps.tolist() == [9, 18]
                assert curve.values.tolist() == [
                    line["validation_parts"][name][index] for line in lines
                ]


def test_an_interrupted_run_writes_the_same_lines(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, **OPTIONS, steps=12)
    for group in range(2):
        assert validations(run, group)[0] == validations(whole, group)[0]
    # As if it had been killed while the second group saved its state.
    (run / "group-1/state/step-00000012.h5").unlink()
    train(run, **OPTIONS)
    for group in range(2):
        assert validations(run, group) == validations(whole, group)
    of_run, of_whole = ([each.metrics for each in read_curves(path)] for path in (run, whole))
    for mine, theirs in zip(of_run, of_whole, strict=True):
        for name in BYTES:
            assert mine[name].values.tolist() == theirs[name].values.tolist()
        # Weights in half precision, each third step.
        handed = 2 * sum(each.numel() for each in Cell(0).parameters())
        assert mine["published_bytes"].values.tolist() == [handed * n for n in range(2, 8)]
        assert mine["taken_bytes"].values[-1] > 0


def test_what_is_not_asked_for_is_not_measured_and_all_else_is_the_same(
    whole: Path, tmp_path: Path
) -> None:
    run, fewer = tmp_path / "run", {"validation_parts": 1, "validate_ensemble": False}
    train(run, **OPTIONS | fewer)
    for group in range(2):
        lines = [
            {name: value for name, value in line.items() if not name.startswith(MORE)}
            for line in validations(whole, group)
        ]
        assert validations(run, group) == lines


def test_a_part_without_a_value_has_an_empty_curve(tmp_path: Path) -> None:
    """As an area under a curve has none of rows that are all alike."""
    (tmp_path / "group-0").mkdir()
    lines = [
        {"step": 5, "validation_parts": {"auc": [None, 0.5], "loss": [1.0, 2.0]}},
        {"step": 7, "validation_parts": {"auc": "?", "loss": [1.5, None]}},
        {"step": 9, "validation_parts": [1, 2]},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "group-0/metrics.jsonl").write_text(text)
    (group,) = read_curves(tmp_path)
    found = {
        name: [(curve.steps.tolist(), curve.values.tolist()) for curve in curves]
        for name, curves in group.parts.items()
    }
    assert found == {
        "validation_auc": [([], []), ([5], [0.5])],
        "validation_loss": [([5, 7], [1.0, 1.5]), ([5], [2.0])],
    }
