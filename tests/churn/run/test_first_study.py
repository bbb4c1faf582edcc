"""The study of a newcomer, without data of their own: it shows what the methods do."""

import json
import os
from pathlib import Path

import pytest
from forkserver.launches import ForkServer

from hvcod.tasks.criteo.preparation import builtin
from hvcod.tasks.criteo.task import Criteo


def test_the_laptop_preset_reads_the_built_in_rows_almost_twice() -> None:
    """In less than one epoch teachers cannot help, and the loss jumps when a third one begins."""
    preset = Criteo.presets["laptop"]
    training = builtin.ROWS * (1 - builtin.OPTIONS.validation_fraction)
    assert 1.9 < preset["steps"] * preset["group_batch_size"] / training < 2


@pytest.mark.usefixtures("long")
def test_codistilled_retrains_agree_better_and_anchored_ones_with_production(
    fast_mpirun: ForkServer, tmp_path: Path
) -> None:
    environment = os.environ | {"HVCOD_CACHE": str(tmp_path / "cache")}
    study = ["--task", "criteo", "--exchange", "in-process", "--seed", 7]
    words = ["hvcod", "train", *study, "--run-dir", tmp_path / "monday"]
    fast_mpirun(0, *words, "--seed", 8, env=environment)
    words = ["hvcod", "churn", "run", *study, "--repeats", 4, "--output", tmp_path / "s", "--json"]
    words += ["--methods", "dnn,codistill,anchored", "--production", tmp_path / "monday"]
    report = json.loads(fast_mpirun(2, *words, env=environment, timeout=1800).stdout)
    methods = report["methods"]
    changes = methods["codistill"]["against_first"]
    assert changes["churn_reduction"]["interval"][0] > 0.25
    assert changes["log_loss_difference"]["interval"][1] < 0
    against_production = methods["anchored"]["against_production"]
    assert against_production["churn_reduction"]["interval"][0] > 0.25
    assert methods["anchored"]["against_first"]["log_loss_difference"]["mean"] < 0
