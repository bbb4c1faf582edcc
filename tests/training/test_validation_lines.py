"""The lines that validations leave in the metrics of a run, whole and after an interruption."""

import json
from pathlib import Path
from typing import Any

import pytest
from training.toy import train

from hvcod.runs.curves import read_curves

OPTIONS: dict[str, Any] = {
    "codistill.exchange": "in-process",
    "groups": 2,
    "average": 0.9,
    "validate_average": True,
    "validation_parts": 2,
    "model.dropout": 0.25,
}


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
    # As if it had been killed while the second group saved its state.
    (run / "group-1/state/step-00000012.h5").unlink()
    train(run, **OPTIONS)
    for group in range(2):
        assert validations(run, group) == validations(whole, group)


def test_parts_change_nothing_else(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, **OPTIONS | {"validation_parts": 1})
    for group in range(2):
        lines = validations(whole, group)
        for line in lines:
            del line["validation_parts"]
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
