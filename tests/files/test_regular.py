"""Files that somebody else may have put there."""

import os
from pathlib import Path

import pytest

from hvcod.errors import HvcodError
from hvcod.files.regular import open_regular


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
