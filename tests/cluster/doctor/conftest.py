"""What the doctor's tests share: its report as an object."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from forkserver.launches import ForkServer


@dataclass(frozen=True)
class Report:
    """What came of a call of ``hvcod doctor --json``."""

    code: int
    whole: dict[str, Any]
    errors: str

    def check(self, name: str) -> dict[str, str]:
        (found,) = (each for each in self.whole["checks"] if each["check"] == name)
        return dict(found)

    def named(self, result: str) -> set[str]:
        """The checks that came to that result."""
        return {each["check"] for each in self.whole["checks"] if each["result"] == result}


class Doctor(Protocol):
    """``hvcod doctor --json`` on ranks that are forked, with or without mpirun (0 ranks)."""

    def __call__(self, ranks: int, *words: object, env: Mapping[str, str] | None = None) -> Report:
        """Its report, whatever its exit code."""


def report(done: subprocess.CompletedProcess[str]) -> Report:
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return Report(done.returncode, json.loads(lines[0]), done.stderr)


@pytest.fixture
def words(tmp_path: Path) -> Sequence[object]:
    """Little to measure, and a run directory that is still to be made."""
    return ["--json", "--megabytes", 2, "--patience", 60, "--run-dir", tmp_path / "runs" / "one"]


@pytest.fixture
def doctor(fast_mpirun: ForkServer, words: Sequence[object]) -> Doctor:
    def run(ranks: int, *more: object, env: Mapping[str, str] | None = None) -> Report:
        return report(
            fast_mpirun(ranks, "hvcod", "doctor", *words, *more, check=False, env=env, timeout=90)
        )

    return run


@pytest.fixture
def installed(mpi_environment: Mapping[str, str], words: Sequence[object]) -> Doctor:
    """The same by the console script, so that PYTHONPATH counts; always without mpirun."""

    def run(ranks: int, *more: object, env: Mapping[str, str] | None = None) -> Report:
        assert ranks == 0
        command = [str(Path(sys.executable).with_name("hvcod")), "doctor", *map(str, words)]
        done = subprocess.run(
            [*command, *map(str, more)],
            env={**mpi_environment, **(env or {}), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return report(done)

    return run
