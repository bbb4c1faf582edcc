"""Inputs of the kinds that people bring: each command of `CASES` on its input."""

import os
import re
from pathlib import Path

import pytest
from conftest import PROJECT
from field import churn, criteo, images, text
from field.case import Case
from forkserver.launches import ForkServer

CASES = [*churn.CASES, *text.CASES, *criteo.CASES, *images.CASES]


@pytest.fixture(scope="session")
def field() -> Path:
    """The folder of inputs: HVCOD_TEST_FIELD, or shared/field beside the project."""
    path = Path(os.environ.get("HVCOD_TEST_FIELD", PROJECT.parent / "shared" / "field"))
    if not path.is_dir():
        pytest.skip("no inputs of the field: set HVCOD_TEST_FIELD")
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
def test_an_input_of_the_field(
    case: Case, field: Path, tmp_path: Path, fast_mpirun: ForkServer
) -> None:
    words = [word.format(field=field, out=tmp_path / "out") for word in case.words.split()]
    done = fast_mpirun(0, "hvcod", *words, timeout=120, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == case.code, output
    assert "Traceback" not in output
    for pattern in case.says:
        assert re.search(pattern, output), f"{pattern!r} is not in:\n{output}"
    for pattern in case.not_says:
        assert not re.search(pattern, output), f"{pattern!r} is in:\n{output}"
