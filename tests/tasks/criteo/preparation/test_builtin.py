"""The built-in rows: made once, and good to train on."""

from pathlib import Path

import pytest
from mpi4py import MPI

from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.preparation import builtin


def test_rows_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVCOD_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin, "ROWS", 600)
    folder = builtin.builtin_dataset(MPI.COMM_WORLD)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    dataset = ClickDataset(folder)
    assert dataset.generated
    assert {name: len(rows) for name, rows in dataset.parts.items()} == {
        "training": 540,
        "validation": 60,
        "test": 0,
    }
    monkeypatch.setattr(builtin, "ClickPreparation", lambda *_: pytest.fail("made again"))
    assert builtin.builtin_dataset(MPI.COMM_WORLD) == folder
    monkeypatch.setattr(builtin, "SEED", 2)
    with pytest.raises(pytest.fail.Exception, match="made again"):
        builtin.builtin_dataset(MPI.COMM_WORLD)
