"""Learning curves from the metrics of runs."""

import json
from pathlib import Path

import pytest

from hvcod.errors import HvcodError
from hvcod.training.record.plot import draw


def test_a_picture_of_a_run_that_is_alive(tmp_path: Path) -> None:
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
