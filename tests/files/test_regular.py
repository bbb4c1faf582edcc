"""Files that somebody else may have put there."""

import os
from pathlib import Path

import pytest

from hvcod.errors import HvcodError
from hvcod.files.regular import open_regular, read_regular


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


def test_a_link_that_the_user_made_is_followed_but_never_to_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "regular").write_bytes(b"abc")
    os.mkfifo(tmp_path / "pipe")
    for name in ("regular", "pipe"):
        (tmp_path / f"to-{name}").symlink_to(name)
    assert read_regular(tmp_path / "to-regular", follow=True) == b"abc"
    with pytest.raises(HvcodError, match="not a regular file"):
        read_regular(tmp_path / "to-pipe", follow=True)
    with pytest.raises(HvcodError, match="symbolic link"):
        read_regular(tmp_path / "to-regular")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert read_regular(tmp_path / "file", 10) == b"x" * 10
    with pytest.raises(HvcodError, match="has more than 9 bytes"):
        read_regular(tmp_path / "file", 9)
