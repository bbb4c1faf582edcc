"""The publisher: never in the way, never half a file, never silent."""

import errno
import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from exchange.support import (
    EXPECTED,
    about,
    checkpoint,
    listing,
    model,
    put,
    temporaries,
    wait_until,
)

from hvcod.exchange.publish import Publisher, snapshot
from hvcod.exchange.read import read_checkpoint
from hvcod.tensorfile.steps import checkpoint_path, list_steps


def publish_now(publisher: Publisher, step: int, value: float = 0.5) -> None:
    counters = publisher.counters
    before = counters.written + counters.failed + counters.existing
    publisher.publish(snapshot(model(value)), about(step))
    wait_until(lambda: counters.written + counters.failed + counters.existing > before)


def test_a_snapshot_is_independent_and_contiguous() -> None:
    source = {
        "weight": torch.nn.Parameter(torch.ones(3, 4)),
        "view": torch.arange(12.0).reshape(3, 4).t(),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "flags": torch.tensor([True, False]),
        "brain": torch.ones(3).bfloat16(),
        "large": torch.randn(1000, 2000).bfloat16().t(),
    }
    expected = {name: tensor.detach().clone() for name, tensor in source.items()}
    copies = snapshot(source)
    with torch.no_grad():
        for tensor in source.values():
            tensor.zero_()
    assert list(copies) == list(source)
    for name, copy in copies.items():
        assert copy.is_contiguous()
        assert not copy.requires_grad
        assert copy.dtype == expected[name].dtype
        assert torch.equal(copy, expected[name]), name


def test_what_is_published_is_what_was_snapped(tmp_path: Path) -> None:
    directory = tmp_path / "group-0" / "published"
    with closing(Publisher(directory)) as publisher:
        weights = model(0.25)
        publisher.publish(snapshot(weights), about(50))
        for tensor in weights.values():
            tensor.zero_()
    metadata, tensors = read_checkpoint(checkpoint_path(directory, 50), EXPECTED)
    assert torch.equal(tensors["lstm.0.weight"], torch.full((8, 4), 0.25).half())
    assert metadata.step == 50
    assert metadata.created.endswith("+00:00")
    assert publisher.counters.written == 1
    assert publisher.counters.bytes == checkpoint_path(directory, 50).stat().st_size
    assert publisher.counters.seconds > 0


def test_the_newest_waits_and_older_ones_are_dropped(tmp_path: Path, gate: threading.Event) -> None:
    publisher = Publisher(tmp_path)
    taken = model()
    publisher.publish(taken, about(50))
    wait_until(lambda: not taken)
    # Nothing is written before the gate opens, and nobody waits for that.
    for step in (100, 150, 200):
        publisher.publish(model(), about(step))
    gate.set()
    assert publisher.close()
    assert list_steps(tmp_path) == [50, 200]
    assert (publisher.counters.written, publisher.counters.dropped) == (2, 2)


def test_close_publishes_what_waits(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish(model(), about(50))
    assert publisher.close()
    assert list_steps(tmp_path) == [50]


def test_close_gives_up_on_a_file_system_that_hangs(
    tmp_path: Path, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish(model(), about(50))
    assert not publisher.close(timeout=0.1)
    assert "gave up waiting" in caplog.text
    gate.set()
    assert publisher.close()


def test_the_last_generations_are_kept(tmp_path: Path) -> None:
    with closing(Publisher(tmp_path, keep=2)) as publisher:
        for step in (50, 100, 150, 200):
            publish_now(publisher, step)
    assert list_steps(tmp_path) == [150, 200]


def test_a_published_step_is_not_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = put(tmp_path, 50).read_bytes()
    with caplog.at_level(logging.INFO), closing(Publisher(tmp_path)) as publisher:
        publish_now(publisher, 50)
        publish_now(publisher, 100)
    assert checkpoint_path(tmp_path, 50).read_bytes() == before
    assert (publisher.counters.existing, publisher.counters.written) == (1, 1)
    assert "step-00000050.h5 exists already and is kept" in caplog.text


def test_nan_is_never_published_and_costs_one_publication(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Publisher(tmp_path)) as publisher:
        for step in (50, 100):
            publish_now(publisher, step, float("nan"))
        publish_now(publisher, 150)
    assert list_steps(tmp_path) == [150]
    assert (publisher.counters.failed, publisher.counters.written) == (2, 1)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(lines) == 1
    assert "step-00000050.h5 not written: tensor lstm.0.weight holds NaN" in lines[0]


def test_orphans_of_a_former_life_go(tmp_path: Path) -> None:
    host = os.uname().nodename
    (tmp_path / f".step-00000050.h5.none@{host}@{os.getpid()}.tmp").write_bytes(b"half")
    with closing(Publisher(tmp_path)) as publisher:
        publish_now(publisher, 100)
        wait_until(lambda: not temporaries(tmp_path))


def test_a_file_where_the_directory_should_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "group-0").write_text("in the way")
    with closing(Publisher(tmp_path / "group-0" / "published")) as publisher:
        publish_now(publisher, 50)
    assert publisher.counters.failed == 1
    assert "Not a directory" in caplog.text


def test_no_permission_costs_the_publication_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() == 0:
        # Root may write anywhere but into a process that does not exist.
        directory = Path("/proc/self/published")
    else:
        directory = tmp_path / "closed"
        directory.mkdir(mode=0o500)
    with closing(Publisher(directory)) as publisher:
        publish_now(publisher, 50)
        publish_now(publisher, 100)
    assert publisher.counters.failed == 2
    assert len(caplog.records) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_costs_the_publication_only(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = small_disk / "published"
    with closing(Publisher(directory)) as publisher:
        publish_now(publisher, 50, 0.25)
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        publish_now(publisher, 100)
        publish_now(publisher, 150)
        assert listing(directory) == ["step-00000050.h5"]
        _, tensors = read_checkpoint(checkpoint_path(directory, 50), EXPECTED)
        assert float(tensors["lstm.0.bias"][0]) == 0.25
        ballast.unlink()
        publish_now(publisher, 200)
    assert list_steps(directory) == [50, 200]
    assert (publisher.counters.written, publisher.counters.failed) == (2, 2)
    assert [os.strerror(errno.ENOSPC) in r.getMessage() for r in caplog.records] == [True]


def test_a_mistake_in_the_program_surfaces_in_the_training_thread(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    no_tensors: Any = {"a": None}
    publisher.publish(no_tensors, about(50))
    wait_until(lambda: not publisher._worker._thread.is_alive())
    with pytest.raises(AttributeError, match="shape"):
        publisher.publish(model(), about(100))
    with pytest.raises(AttributeError, match="shape"):
        publisher.close()
    assert list_steps(tmp_path) == []


def test_handing_over_takes_no_time(tmp_path: Path) -> None:
    """Not a benchmark: it fails if publishing moves to the caller's thread."""
    tensors = {"w": torch.zeros(4_000_000)}
    copies = [dict(tensors) for _ in range(5)]
    with closing(Publisher(tmp_path)) as publisher:
        begun = time.perf_counter()
        for step, copy in enumerate(copies, 1):
            publisher.publish(copy, about(step))
        handing = time.perf_counter() - begun
        assert publisher.close()
    assert handing < publisher.counters.seconds


def test_checkpoints_of_the_fixture_are_what_the_publisher_writes(tmp_path: Path) -> None:
    with closing(Publisher(tmp_path)) as publisher:
        publish_now(publisher, 50)
    written = checkpoint_path(tmp_path, 50).stat().st_size
    # Only the creation time, which the fixture leaves empty, differs in length.
    assert abs(written - len(checkpoint(50))) < 256
