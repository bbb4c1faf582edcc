"""A base algorithm is one class and its name in a registry."""

import json
from pathlib import Path

import pytest
from conftest import MpiRun
from mpi.test_resume import command, lines

from hvcod.errors import UsageError
from hvcod.registry import BASE_ALGORITHMS
from hvcod.training.sgd.synchronous import Synchronous


def test_a_base_algorithm_from_elsewhere_trains_a_group(
    fast_mpirun: MpiRun, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(tiny_data, run, "--set", "sgd=local", "--nonfinite", "skip", steps=40)[1:]
    (summary,) = json.loads(fast_mpirun(2, "local_sgd.py", *words).stdout)
    assert (summary["ended"], summary["steps"]) == ("finished", 40)
    losses = [line["loss"] for line in lines(run) if "loss" in line]
    assert losses[-1] < losses[0]
    assert 'sgd = "local"' in (run / "config.toml").read_text()


def test_names_of_base_algorithms() -> None:
    assert BASE_ALGORITHMS.load("sync") is Synchronous
    with pytest.raises(UsageError, match="--sgd local: choose one of sync"):
        BASE_ALGORITHMS.load("local")
