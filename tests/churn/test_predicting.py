"""Runs and checkpoints predict into a folder that all ranks must see."""

from pathlib import Path

import pytest

from hvcod.churn import predicting
from hvcod.errors import UsageError
from hvcod.evaluation.options import EvaluationOptions


def test_a_folder_that_only_one_node_has_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: elsewhere)
    runs = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(UsageError, match="set TMPDIR to a folder that all nodes share"):
        predicting.with_predictions(runs, EvaluationOptions(), 0, lambda files: None)
