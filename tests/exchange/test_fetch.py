"""One exact step of a teacher: there, not there yet, or never to be had."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exchange.support import EXPECTED, OURS, about, checkpoint, encoded, model, put

from hvcod.errors import HvcodError
from hvcod.exchange import assemble
from hvcod.exchange.assemble import Arrival, Assembler
from hvcod.tensorfile.errors import DamagedError
from hvcod.tensorfile.meaning import meaning_of
from hvcod.tensorfile.steps import checkpoint_path

MEANING, THEIRS = (meaning_of({"vocabulary": pieces}) for pieces in ("ab", "ba"))


def get(directory: Path, step: int) -> Arrival | None:
    return Assembler(directory, 0, EXPECTED, replace(OURS, meaning=MEANING)).fetch(step)


def test_exactly_that_step(tmp_path: Path) -> None:
    for step in (50, 100, 150):
        put(tmp_path, step)
    arrival = get(tmp_path, 100)
    assert arrival is not None
    assert (arrival.group, arrival.step, arrival.origin.step) == (0, 100, 100)
    assert torch.equal(arrival.tensors["lstm.0.weight"], torch.full((8, 4), 100.0).half())
    assert get(tmp_path, 75) is None


def test_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    assert get(tmp_path / "nowhere", 50) is None


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
def test_what_may_pass_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    put(tmp_path, 50)
    monkeypatch.setattr(assemble, "read_checkpoint", fail)
    assert get(tmp_path, 50) is None
    monkeypatch.undo()
    assert get(tmp_path, 50) is not None


CASES = {
    "short": (checkpoint(50)[:-1], "bytes, not "),
    "run": (checkpoint(50, run_id="run-0"), "belongs to run 'run-0', not 'run-1'"),
    "group": (checkpoint(50, group=3), "claims to be step 50 of group 3"),
    "model": (bytes(encoded({}, about(50))), "tensor lstm.0.weight is missing"),
    "meaning": (
        bytes(encoded(model(), replace(about(50), meaning=THEIRS))),
        "was trained on data of another meaning: vocabulary [0-9a-f]{8} instead of [0-9a-f]{8}$",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_waiting_cannot_mend_is_an_error_with_the_path(tmp_path: Path, case: str) -> None:
    data, reason = CASES[case]
    path = put(tmp_path, 50, data)
    with pytest.raises(HvcodError, match=reason) as caught:
        get(tmp_path, 50)
    assert str(caught.value).startswith(f"{path} ")
    # Only what is damaged may have to be deleted.
    assert isinstance(caught.value, DamagedError) == (case == "short")


def test_a_system_error_that_will_not_pass(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.write_text("no directory")
    path = checkpoint_path(tmp_path, 50)
    with pytest.raises(HvcodError, match=f"^{path}: Not a directory$"):
        get(tmp_path, 50)
