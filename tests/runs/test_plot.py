"""Learning curves, read from the metrics of runs and drawn."""

import json
from pathlib import Path

import pytest

from hvcod.errors import HvcodError
from hvcod.runs.curves import read_curves
from hvcod.runs.plot import draw


def test_a_picture_of_a_run_that_is_training(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for group in range(2):
        folder = tmp_path / f"run/group-{group}"
        folder.mkdir(parents=True)
        lines = [
            {"step": 10, "task_loss": 6.0, "teachers": {}},
            {"step": 10, "validation_loss": 6.1},
            {"step": 20, "task_loss": 5.0, "teachers": {str(1 - group): 10}},
            {"step": 20, "validation_loss": 5.2},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text + '{"step": 30, "ta')
    draw([tmp_path / "run"], tmp_path / "curves.svg")
    picture = (tmp_path / "curves.svg").read_text()
    assert picture.count("<svg") == 1
    assert "validation accuracy" not in picture
    draw([tmp_path / "run"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_other_metrics_get_a_panel_each(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").rcParams["svg.fonttype"] = "none"
    (tmp_path / "run" / "group-0").mkdir(parents=True)
    lines = [
        {"step": 10, "validation_loss": 2.0, "validation_accuracy": 0.3, "validation_auc": None},
        {"step": 20, "validation_loss": 1.0, "validation_accuracy": 0.5, "validation_auc": 0.7},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "run" / "group-0" / "metrics.jsonl").write_text(text)
    draw([tmp_path / "run"], tmp_path / "curves.svg")
    picture = (tmp_path / "curves.svg").read_text()
    assert "validation accuracy" in picture
    assert "validation auc" in picture


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(HvcodError, match=r"is not a run: it has no group-\*/metrics\.jsonl"):
        draw([tmp_path], tmp_path / "curves.png")


def test_curves_are_arrays_of_each_group_in_order(tmp_path: Path) -> None:
    for group in (10, 2):
        (tmp_path / f"group-{group}").mkdir()
        lines = [
            {"step": 10, "task_loss": 6.0, "teachers": {}, "ended": "no"},
            {"step": 10, "validation_loss": 6, "validation_auc": None},
            {"step": 20, "task_loss": 5.0, "teachers": {"1": 10}},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"group-{group}" / "metrics.jsonl").write_text(f"garbage\n{text}{{")
    two, ten = read_curves(tmp_path)
    assert (two.group, ten.group) == (2, 10)
    assert sorted(two.metrics) == ["task_loss", "validation_loss"]
    assert [each.tolist() for each in two.metrics["task_loss"]] == [[10, 20], [6.0, 5.0]]
    assert two.metrics["validation_loss"].values.dtype == "float64"
    assert two.first_teacher == 20
