"""The writing thread: one file after the other, waited for on request, never in silence."""

import errno
import logging
import os
import socket
import threading
import weakref
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from exchange.support import listing, wait_until
from tensorfile.crafting import encode

from hvcod.errors import HvcodError
from hvcod.files.whole import write_whole
from hvcod.tensorfile.encode import encode as image_of
from hvcod.tensorfile.image import Image
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import checkpoint_path, list_steps
from hvcod.tensorfile.writer import Writer


class Content(bytes):
    def write_to(self, file: BinaryIO) -> None:
        file.write(self)


def build(item: bytes) -> Content:
    if not item:
        raise HvcodError("nothing to write")
    return Content(item)


def state_writer(directory: Path, keep: int | None = None, replace: bool = True) -> Writer[bytes]:
    return Writer(directory, build, keep=keep, replace=replace, what="training state")


def test_what_was_flushed_is_there(tmp_path: Path) -> None:
    with closing(state_writer(tmp_path / "state")) as writer:
        assert writer.flush()
        for step in (50, 100):
            writer.write(step, b"x" * step)
            assert writer.flush()
            assert checkpoint_path(tmp_path / "state", step).read_bytes() == b"x" * step
        assert (writer.counters.written, writer.counters.bytes) == (2, 100)
        assert writer.counters.longest_seconds >= writer.counters.seconds > 0


def test_a_flush_gives_up_in_time(tmp_path: Path, gate: threading.Event) -> None:
    with closing(state_writer(tmp_path)) as writer:
        writer.write(50, b"x")
        assert not writer.flush(timeout=0.1)
        gate.set()
        assert writer.flush()


def test_a_flush_waits_for_the_newest(tmp_path: Path, gate: threading.Event) -> None:
    with closing(state_writer(tmp_path)) as writer:
        writer.write(50, b"x")
        wait_until(lambda: writer._waiting is None)
        for step in (100, 150):
            writer.write(step, b"x")
        gate.set()
        assert writer.flush()
        assert list_steps(tmp_path) == [50, 150]
        assert writer.counters.dropped == 1


def test_a_flush_after_a_failure_says_so_and_the_next_one_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(state_writer(tmp_path)) as writer:
        for step in (50, 100):
            writer.write(step, b"")
            assert not writer.flush()
            path = checkpoint_path(tmp_path, step)
            assert writer.counters.last_error == f"{path}: nothing to write"
        writer.write(150, b"x")
        assert writer.flush()
        assert writer.counters.last_error == ""
        assert (writer.counters.failed, writer.counters.written) == (2, 1)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    path = checkpoint_path(tmp_path, 50)
    reason = "nothing to write; training goes on (logged once)"
    assert lines == [f"training state {path} not written: {reason}"]


def test_replacing_is_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    with closing(state_writer(tmp_path)) as writer:
        for item in (b"first", b"second"):
            writer.write(50, item)
            assert writer.flush()
    assert checkpoint_path(tmp_path, 50).read_bytes() == b"second"
    assert listing(tmp_path) == ["step-00000050.h5"]


def test_a_replacement_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_path(tmp_path, 50)
    write_whole(path, memoryview(b"first"), replace=False)

    def full(content: Content, file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with closing(state_writer(tmp_path)) as writer:
        monkeypatch.setattr(Content, "write_to", full)
        writer.write(50, b"second")
        assert not writer.flush()
        assert writer.counters.last_error == f"{path}: No space left on device"
    monkeypatch.undo()
    assert path.read_bytes() == b"first"
    assert listing(tmp_path) == [path.name]


def test_without_replacing_a_file_stays_and_counts_as_there(tmp_path: Path) -> None:
    with closing(state_writer(tmp_path, replace=False)) as writer:
        writer.write(50, b"first")
        assert writer.flush()
        writer.write(50, b"second")
        assert writer.flush()
        assert writer.counters.existing == 1
    assert checkpoint_path(tmp_path, 50).read_bytes() == b"first"


@pytest.mark.parametrize(("keep", "kept"), [(None, [1, 2, 3, 4]), (2, [3, 4]), (1, [4])])
def test_generations(tmp_path: Path, keep: int | None, kept: list[int]) -> None:
    with closing(state_writer(tmp_path, keep)) as writer:
        for step in (1, 2, 3, 4):
            writer.write(step, b"x")
            writer.flush()
    assert list_steps(tmp_path) == kept


def test_files_of_another_run_and_what_is_unreadable_are_never_pruned(tmp_path: Path) -> None:
    """Such as those of a run that was put into the place of this one's folder."""
    weights = {"weight": torch.zeros(3)}
    for step, run in ((1, "other"), (2, "ours"), (3, "ours")):
        content = encode(dict(weights), Origin(run, "task", 0, step))
        write_whole(checkpoint_path(tmp_path, step), content)
    checkpoint_path(tmp_path, 4).write_bytes(b"damaged")
    checkpoint_path(tmp_path, 5).symlink_to(checkpoint_path(tmp_path, 3))

    def ours(step: int) -> Image:
        return image_of(dict(weights), Origin("ours", "task", 0, step))

    with closing(Writer(tmp_path, ours, keep=2, replace=True, what="training state")) as writer:
        for step in (6, 7, 8):
            writer.write(step, step)
            assert writer.flush()
    assert list_steps(tmp_path) == [1, 4, 5, 7, 8]


def test_nothing_is_held_while_nothing_is_written(tmp_path: Path) -> None:
    """Neither the item nor its bytes stay in memory until the next one comes."""
    held: list[weakref.ref[torch.Tensor]] = []

    def build(item: torch.Tensor) -> Image:
        held.append(weakref.ref(item))
        return image_of({"item": item}, Origin())

    writer = Writer(tmp_path, build, keep=1, replace=True, what="training state")
    writer.write(1, torch.zeros(3))
    assert writer.flush()
    assert held[0]() is None
    assert writer.close()


def test_a_flush_raises_what_the_thread_died_of(tmp_path: Path) -> None:
    def broken(item: bytes) -> Content:
        raise ZeroDivisionError

    writer = Writer(tmp_path, broken, keep=1, replace=True, what="training state")
    writer.write(1, b"x")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            writer.flush()
    with pytest.raises(ZeroDivisionError):
        writer.close()


def test_what_a_killed_writer_left_goes_before_anything_is_written(tmp_path: Path) -> None:
    host = socket.gethostname()
    orphan = tmp_path / f".step-00000050.h5.none@{host}@{2**22 + 1}.tmp"  # no process has it
    elsewhere = tmp_path / ".step-00000050.h5.none@elsewhere@1.tmp"
    for path in (orphan, elsewhere):
        path.write_bytes(b"half a file")
    with closing(state_writer(tmp_path)):
        wait_until(lambda: not orphan.exists())
    assert listing(tmp_path) == [elsewhere.name]
