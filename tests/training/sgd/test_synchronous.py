"""Synchronous SGD on one rank; several ranks are in tests/mpi."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import MpiRun
from mpi.test_resume import command

# Stands for an environment in which Horovod is not installed.
NO_HOROVOD = """
import sys
sys.modules["horovod"] = sys.modules["horovod.torch"] = None
from hvcod.cli.main import main
main()
"""


@pytest.mark.parametrize("algorithm", ["adam", "adagrad", "sgd"])
def test_one_rank_learns_the_same_with_and_without_horovod(
    fast_mpirun: MpiRun, algorithm: str
) -> None:
    assert fast_mpirun(0, "one_rank.py", algorithm).stdout == "ok\n"


def test_a_group_of_one_rank_trains_and_is_evaluated_without_horovod(
    mpi_environment: Mapping[str, str], tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = [str(word) for word in command(tiny_data, run, steps=20)[1:]]
    for arguments in (words, ["evaluate", str(run)]):
        subprocess.run(
            [sys.executable, "-c", NO_HOROVOD, *arguments],
            env=dict(mpi_environment),
            check=True,
            timeout=120,
        )
