"""Names, whole files, orphans."""

import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange.support import listing, temporaries

from hvcod.errors import HvcodError
from hvcod.exchange import directory as names
from hvcod.exchange.directory import (
    checkpoint_path,
    list_steps,
    open_regular,
    prune,
    published_directory,
    write_new,
)


def test_names(tmp_path: Path) -> None:
    directory = published_directory(tmp_path, 3)
    assert directory == tmp_path / "group-3" / "published"
    assert checkpoint_path(directory, 50).name == "step-00000050.h5"
    assert checkpoint_path(directory, 123_456_789).name == "step-123456789.h5"


def test_listing_sees_published_checkpoints_only(tmp_path: Path) -> None:
    for name in (
        "step-00000100.h5",
        "step-00000050.h5",
        "step-1234567890.h5",
        "step-50.h5",
        "step-000000050.h5",
        "step-00000051.h5.bak",
        ".step-00000052.h5.none@host@1.tmp",
        "Step-00000053.h5",
        "step-0000005x.h5",
        "step-٠٠٠٠٠٠٥٠.h5",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    assert list_steps(tmp_path) == [50, 100, 1_234_567_890]


def test_a_written_file_is_whole_and_alone(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 50)
    write_new(path, memoryview(b"abc" * 1000))
    assert path.read_bytes() == b"abc" * 1000
    assert listing(tmp_path) == [path.name]


def test_the_content_is_on_disk_before_the_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noted_sync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        whole = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "directory"
        calls.append(f"sync {whole}")
        sync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    write_new(checkpoint_path(tmp_path, 50), memoryview(b"abc"))
    assert calls == ["sync 3 bytes", "rename to step-00000050.h5", "sync directory"]


def test_a_published_name_is_never_replaced(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 50)
    write_new(path, memoryview(b"first"))
    with pytest.raises(FileExistsError):
        write_new(path, memoryview(b"second"))
    assert path.read_bytes() == b"first"
    assert listing(tmp_path) == [path.name]


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """No file of this process may grow beyond it: a write comes back short, the next fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_ends_short_fails_cleanly(tmp_path: Path, file_size_limit: int) -> None:
    with pytest.raises(OSError, match="File too large") as caught:
        write_new(checkpoint_path(tmp_path, 50), memoryview(b"x" * (file_size_limit + 1)))
    assert caught.value.errno == errno.EFBIG
    assert listing(tmp_path) == []
    write_new(checkpoint_path(tmp_path, 50), memoryview(b"x" * file_size_limit))
    assert list_steps(tmp_path) == [50]


def test_large_files_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PIECE", 1000)
    data = bytes(range(256)) * 40
    write_new(checkpoint_path(tmp_path, 50), memoryview(data))
    assert checkpoint_path(tmp_path, 50).read_bytes() == data


def test_the_temporary_name_says_who_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711[3]/x")
    seen: list[str] = []

    def stop(path: Path, data: memoryview) -> None:
        seen.append(path.name)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(names, "_write_through", stop)
    with pytest.raises(OSError, match="full"):
        write_new(checkpoint_path(tmp_path, 50), memoryview(b""))
    host = socket.gethostname()
    assert seen == [f".step-00000050.h5.4711-3--x@{host}@{os.getpid()}.tmp"]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    regular = tmp_path / "regular"
    regular.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(regular)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with open_regular(regular) as file:
        assert file.read() == b"abc"
    with pytest.raises(HvcodError, match="symbolic link"):
        open_regular(tmp_path / "link")
    for name in ("folder", "pipe"):
        with pytest.raises(HvcodError, match="not a regular file"):
            open_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")


def test_the_last_generations_stay(tmp_path: Path) -> None:
    for step in (50, 100, 150, 200):
        checkpoint_path(tmp_path, step).touch()
    prune(tmp_path, 200, keep=3)
    assert list_steps(tmp_path) == [100, 150, 200]


def test_a_former_life_that_went_further_stays_until_it_is_overtaken(tmp_path: Path) -> None:
    for step in (50, 100, 200, 250):
        checkpoint_path(tmp_path, step).touch()
    prune(tmp_path, 100, keep=1)
    assert list_steps(tmp_path) == [100, 200, 250]
    checkpoint_path(tmp_path, 300).touch()
    prune(tmp_path, 300, keep=1)
    assert list_steps(tmp_path) == [300]


def test_temporaries_of_dead_writers_go(tmp_path: Path) -> None:
    host = socket.gethostname()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    now = time.time()
    stay = {
        f".step-00000050.h5.17@{host}@{alive.pid}.tmp": now,
        ".step-00000050.h5.17@elsewhere@1.tmp": now - 3000,
        ".step-00000050.h5.17@else@where@1.tmp": now - 4000,
        "notes.tmp": now - 90_000,
    }
    go = {
        f".step-00000050.h5.17@{host}@{dead.pid}.tmp": now,
        f".step-00000050.h5.17@{host}@{os.getpid()}.tmp": now,
        ".step-00000050.h5.none@else-where.org@77.tmp": now - 4000,
    }
    for name, modified in (stay | go).items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (modified, modified))
    checkpoint_path(tmp_path, 50).touch()
    try:
        prune(tmp_path, 50, keep=3)
        assert sorted(temporaries(tmp_path)) == sorted(stay)
    finally:
        alive.send_signal(signal.SIGKILL)
        alive.wait()


def test_pruning_never_raises(tmp_path: Path) -> None:
    prune(tmp_path / "nowhere", 50, keep=3)
    checkpoint_path(tmp_path, 50).mkdir()
    checkpoint_path(tmp_path, 100).touch()
    prune(tmp_path, 100, keep=1)
    assert list_steps(tmp_path) == [50, 100]
