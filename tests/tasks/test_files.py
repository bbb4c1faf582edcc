"""Files of a dataset: errors that a user can read."""

import os
from pathlib import Path

import pytest

from hvcod.errors import HvcodError
from hvcod.tasks.files import read_json, write_json, write_whole, writing


def test_a_refusal_of_the_file_system_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match=r"cannot write .*missing/file: No such file or directory"):
        write_whole(tmp_path / "missing" / "file", b"content")


def test_names_that_are_not_utf_8_stay_the_same_in_json(tmp_path: Path) -> None:
    content = {"name": os.fsdecode(b"M\xfcller"), "other": "Müller"}
    write_json(tmp_path / "file", content)
    assert "Müller" in (tmp_path / "file").read_text(encoding="utf-8")
    assert read_json(tmp_path / "file") == content


def test_content_written_piece_by_piece_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writing(path) as file:
        file.write(b"one ")
        assert not path.exists()
        file.write(b"two")
    assert path.read_bytes() == b"one two"
