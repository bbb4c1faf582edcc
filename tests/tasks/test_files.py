"""Files that appear whole or not at all, and are on disk when they do."""

import errno
import os
import stat
from pathlib import Path

import pytest

from hvcod.errors import HvcodError
from hvcod.tasks.files import write_whole


def test_the_content_is_on_disk_before_the_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync, synced = tmp_path / "file", os.fsync, []

    def watched(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(("directory" if is_directory else "file", path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_whole(path, b"content")
    assert synced == [("file", False), ("directory", True)]
    write_whole(path, b"replaced")
    assert path.read_bytes() == b"replaced"


@pytest.mark.parametrize("refused", ["file", "directory"])
def test_only_a_directory_may_refuse_to_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuses(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (refused == "directory"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuses)
    if refused == "directory":
        write_whole(tmp_path / "file", b"content")
        assert (tmp_path / "file").read_bytes() == b"content"
    else:
        with pytest.raises(HvcodError, match=r"cannot write .*file: Invalid argument"):
            write_whole(tmp_path / "file", b"content")
        assert list(tmp_path.iterdir()) == []
