"""A trained run of two groups, and what its commands say of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MpiRun

STEPS = 30
SMALL = ("--batch-size", 4, "--preset", "laptop", "--set", "model.hidden=24")
MORE = ("--set", "model.embedding=8", "--exchange-interval", 5, "--burn-in", 10)

Hvcod = Callable[..., Any]


@pytest.fixture(scope="session")
def run(fast_mpirun: MpiRun, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups that taught each other, with all validation examples scored."""
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    words = ["hvcod", "train", "--data", tiny_data, "--run-dir", folder, "--steps", STEPS]
    words += ["--groups", 2, "--validation-examples", 256, "--keep-best", "loss"]
    words += ["--validation-interval", STEPS // 3]
    fast_mpirun(2, *words, *SMALL, *MORE)
    return folder


@pytest.fixture(scope="session")
def hvcod(fast_mpirun: MpiRun) -> Hvcod:
    """Runs a command that prints JSON: ``hvcod("evaluate", run, ranks=2)``; what it printed."""

    def call(*words: object, ranks: int = 1) -> Any:
        done = fast_mpirun(ranks, "hvcod", *words, "--json")
        return json.loads(done.stdout)

    return call
