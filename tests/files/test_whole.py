"""Files that appear whole and on disk."""

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcod.files import whole
from hvcod.files.whole import whole_file, write_whole


@pytest.mark.parametrize("replace", [False, True])
def test_a_written_file_is_whole_and_alone(tmp_path: Path, replace: bool) -> None:
    path = tmp_path / "file"
    write_whole(path, b"abc" * 1000, replace=replace)
    assert path.read_bytes() == b"abc" * 1000
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("replace", [False, True])
def test_the_content_is_on_disk_before_the_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "directory"
        calls.append(f"sync {synced}")
        sync(descriptor)

    def noted_rename(name: str, new: str, **folders: int) -> None:
        calls.append(f"rename to {new}")
        rename(name, new, **folders)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    write_whole(tmp_path / "file", b"abc", replace=replace)
    assert calls == ["sync 3 bytes", "rename to file", "sync directory"]


def test_only_a_directory_may_refuse_to_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ""

    def refuses(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (refused == "directory"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuses)
    with pytest.raises(OSError, match="Invalid argument"):
        write_whole(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []
    refused = "directory"
    write_whole(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_new_file_never_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first")
    with pytest.raises(ZeroDivisionError), whole_file(path, replace=True) as file:
        file.write(b"second")
        raise ZeroDivisionError
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """No file of this process may grow beyond it: a write comes back short, the next fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_ends_short_fails_cleanly(tmp_path: Path, file_size_limit: int) -> None:
    path = tmp_path / "file"
    with pytest.raises(OSError, match="File too large") as caught:
        write_whole(path, memoryview(b"x" * (file_size_limit + 1)), replace=False)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="File too large"), whole_file(path, replace=True) as file:
        file.write(b"x" * file_size_limit)
        file.write(b"y")
    assert list(tmp_path.iterdir()) == []
    write_whole(path, memoryview(b"x" * file_size_limit), replace=False)
    assert path.stat().st_size == file_size_limit


def test_large_files_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "PIECE", 1000)
    data = bytes(range(256)) * 40
    write_whole(tmp_path / "file", memoryview(data), replace=False)
    assert (tmp_path / "file").read_bytes() == data


def test_the_temporary_name_says_who_writes(tmp_path: Path) -> None:
    with whole_file(tmp_path / ".file", replace=False):
        (temporary,) = tmp_path.iterdir()
    assert temporary.match(f".file.*@{socket.gethostname()}@{os.getpid()}.tmp")
