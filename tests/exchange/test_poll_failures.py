"""A file that a poller cannot read costs freshness, is logged once and counted by cause."""

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exchange.support import (
    EXPECTED,
    OURS,
    Start,
    about,
    arrival_of,
    checkpoint,
    model,
    put,
    wait_until,
    warnings,
)
from tensorfile.crafting import encode

from hvcod.exchange import assemble, poll, read
from hvcod.exchange.poll import Failure, Poller
from hvcod.exchange.read import decode
from hvcod.tensorfile.precision import lossless
from hvcod.tensorfile.steps import Published, checkpoint_path


def wait_for_failure(poller: Poller, cause: str) -> None:
    wait_until(lambda: poller.counters.failures[cause])


def altered(name: str, tensor: torch.Tensor) -> bytes:
    """A checkpoint of step 100 with another tensor, stored without a look at its values."""
    return bytes(encode(model() | {name: tensor}, about(100), storage=lossless))


FORMAT_1 = b"\x89HVCOD\r\n" + (1).to_bytes(4, "little") + bytes(1000)

BAD = {
    "empty": (b"", "damaged", "cut short"),
    "short": (checkpoint(100)[:-1], "damaged", "bytes, not "),
    "text": (b"no checkpoint" * 100, "damaged", "does not begin"),
    "flipped": (checkpoint(100)[:-9] + b"12345678\n", "damaged", "SHA-256"),
    "other run": (checkpoint(100, run_id="run-0"), "refused", "belongs to run 'run-0'"),
    "other group": (checkpoint(100, group=4), "refused", "step 100 of group 4"),
    "renamed": (checkpoint(99), "refused", "step 99 of group 0"),
    "format 1": (FORMAT_1, "refused", "hvcod 0.1.0 in format 1"),
    "other type": (altered("lstm.0.bias", torch.ones(8).int()), "refused", "holds int32 values"),
    "other shape": (altered("lstm.0.weight", torch.ones(8, 5)), "refused", "has shape"),
    "too large": (b"\0" * 2**20, "refused", "has 1048576 bytes, more than the"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_read_once_and_the_next_older_one_taken(
    case: str, teacher: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    data, cause, reason = BAD[case]
    put(teacher, 50)
    bad = put(teacher, 100, data)
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    poller.look(0)
    wait_until(lambda: poller.counters.listings >= 4)
    assert dict(poller.counters.failures) == {cause: 1}
    (line,) = warnings(caplog)
    assert str(bad) in line
    assert reason in line
    put(teacher, 150)
    assert arrival_of(poller).step == 150


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_teacher_that_holds_nan_is_refused(value: float, teacher: Path, start: Start) -> None:
    put(teacher, 50)
    tensor = torch.ones(8, 4)
    tensor[7, 3] = value
    bad = put(teacher, 100, altered("lstm.0.weight", tensor))
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    reason = f"{bad}: tensor lstm.0.weight holds NaN or infinite values"
    assert poller.failures == {0: {"refused": Failure(1, reason)}}


def test_failures_are_kept_by_group_with_the_last_reason(tmp_path: Path, start: Start) -> None:
    for step in (50, 100):
        put(tmp_path / "1", step, b"")
    put(tmp_path / "2", 50, checkpoint(50, group=2))
    poller = start(1, 2)
    poller.look(0)
    assert arrival_of(poller).group == 2
    wait_until(lambda: poller.counters.failures["damaged"] == 2)
    last = checkpoint_path(tmp_path / "1", 50)
    reason = f"{last}: cut short: 0 bytes, less than its header"
    assert poller.failures == {1: {"damaged": Failure(2, reason)}, 2: {}}


def make_link(path: Path) -> None:
    path.symlink_to(put(path.parent / "elsewhere", 100))


@pytest.mark.parametrize("make", [make_link, os.mkfifo, Path.mkdir])
def test_what_is_no_regular_file_is_refused(
    make: Callable[[Path], None], teacher: Path, start: Start
) -> None:
    make(checkpoint_path(teacher, 100))
    put(teacher, 50)
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    assert dict(poller.counters.failures) == {"irregular": 1}


def test_a_file_that_vanishes_after_the_listing(
    teacher: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(teacher, 50)
    monkeypatch.setattr(poll, "list_published", lambda directory: Published([50, 100], []))
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    assert dict(poller.counters.failures) == {"ENOENT": 1}
    put(teacher, 100)
    poller.look(0)
    assert arrival_of(poller).step == 100


def test_a_stale_handle_is_tried_again(
    teacher: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(teacher, 50)
    readable = read.read_checkpoint
    stale = [OSError(errno.ESTALE, os.strerror(errno.ESTALE)) for _ in range(3)]

    def flaky(path: Path, *others: object) -> object:
        if stale:
            raise stale.pop()
        return readable(path, EXPECTED)

    monkeypatch.setattr(assemble, "read_checkpoint", flaky)
    poller = start()
    poller.look(0)
    assert arrival_of(poller).step == 50
    assert dict(poller.counters.failures) == {"ESTALE": 3}
    assert len(warnings(caplog)) == 1


def test_no_permission_costs_freshness_only(caplog: pytest.LogCaptureFixture) -> None:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    put(directory, 50).chmod(0o644)
    put(directory, 100).chmod(0o000)
    user = os.geteuid()
    decode(checkpoint(), EXPECTED)  # starts the process that reads, while this user may
    poller = Poller({0: directory}, {0: EXPECTED}, OURS)
    try:
        if user == 0:
            os.seteuid(65534)  # root may read everything
        poller.look(0)
        assert arrival_of(poller).step == 50
        assert dict(poller.counters.failures) == {"EACCES": 1}
        assert "step-00000100.h5: Permission denied" in caplog.text
    finally:
        os.seteuid(user)
        poller.close()
        shutil.rmtree(directory)


def test_a_directory_that_cannot_be_listed_is_a_warning(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0").write_text("no directory")
    poller = start()
    poller.look(0)
    wait_until(lambda: poller.counters.failures["ENOTDIR"] >= 2)
    assert warnings(caplog) == [
        f"nothing fresher from group 0: {tmp_path / '0'}: Not a directory (logged once)"
    ]


def test_a_vanished_directory_costs_freshness_only(teacher: Path, start: Start) -> None:
    put(teacher, 50)
    poller = start()
    poller.look(0)
    arrival_of(poller)
    shutil.rmtree(teacher)
    poller.look(0)
    wait_for_failure(poller, "ENOENT")
    put(teacher, 100)
    assert arrival_of(poller).step == 100
