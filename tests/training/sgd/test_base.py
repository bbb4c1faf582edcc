"""A base algorithm is one class and its name in a registry."""

import json
from pathlib import Path

import pytest
from conftest import MpiRun
from mpi.test_resume import command, losses

from hvcod.errors import UsageError
from hvcod.registry import BASE_ALGORITHMS
from hvcod.training.sgd.synchronous import Synchronous


def test_a_base_algorithm_from_elsewhere_trains_a_group_and_is_resumed_exactly(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    weights = {}
    for name, lengths in (("whole", [30]), ("parts", [20, 30])):
        for steps in lengths:
            words = command(tiny_data, tmp_path / name, "--set", "sgd=signs", steps=steps)[1:]
            (summary,) = json.loads(fast_mpirun(2, "sign_sgd.py", *words).stdout)
            assert (summary["ended"], summary["steps"]) == ("finished", steps)
        weights[name] = summary["weights"]
    assert weights["parts"] == weights["whole"]
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert losses(tmp_path / "whole")[-1][1] < losses(tmp_path / "whole")[0][1]
    assert 'sgd = "signs"' in (tmp_path / "whole" / "config.toml").read_text()


def test_names_of_base_algorithms() -> None:
    assert BASE_ALGORITHMS.load("sync") is Synchronous
    with pytest.raises(UsageError, match="--sgd signs: choose one of sync, local"):
        BASE_ALGORITHMS.load("signs")
