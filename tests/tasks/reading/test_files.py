"""Files that a user names: patterns, bytes, and refusals in one line."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hvcod.churn.files.opening import open_source
from hvcod.churn.files.rows import Wanted
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs as texts
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.preparation.sources import expand_inputs as rows
from hvcod.tasks.imagenet.dataset import ImageDataset
from hvcod.tasks.imagenet.preparation.inputs import find_sources as images
from hvcod.tasks.reading.files import chunks, fitting, path_of

LOOKS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: texts([str(path)]),
    "rows": lambda path: rows([str(path)]),
    "images": lambda path: images([str(path)]),
    "prepared rows": ClickDataset,
    "prepared images": ImageDataset,
    "predictions": lambda path: open_source(path, Wanted(), contextlib.ExitStack()),
}


@pytest.mark.parametrize("kind", LOOKS)
def test_what_the_file_system_refuses_is_told(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def closed(self: Path, *, follow_symlinks: bool = True) -> object:
        if self.is_relative_to(tmp_path / "closed"):
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, follow_symlinks=follow_symlinks)

    # The superuser of a container may read everything, so the refusal is made here.
    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(HvcodError) as error:  # from Python 3.14 on: that there is no such file
        LOOKS[kind](tmp_path / "closed" / "file.h5")
    assert "closed" in str(error.value)
    assert "\n" not in str(error.value)


def test_patterns(tmp_path: Path) -> None:
    for name in ("a.txt", "below/b.txt", "below/more/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert fitting(tmp_path / "*.txt") == [tmp_path / "a.txt"]
    assert {path.name for path in fitting(tmp_path / "**" / "*.txt")} == {"a.txt", "b.txt", "c.txt"}
    assert fitting(tmp_path / "none*") == []


def test_a_tilde_is_a_home_unless_something_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert path_of("~/x") == Path("/home/me/x")
    assert path_of("x~") == Path("x~")
    with pytest.raises(UsageError, match="~nosuchuser/x: no home directory is known as ~nosuchus"):
        path_of("~nosuchuser/x")
    (tmp_path / "~nosuchuser").mkdir()
    assert path_of("~nosuchuser/x") == Path("~nosuchuser/x")


def test_names_of_inputs_that_are_not_utf_8_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"M\xfcller.txt")
    path.write_text("text")
    (source,) = texts([str(path)]).sources
    assert (source.location, source.name) == (str(path), "M\\udcfcller.txt")


def test_bytes_in_chunks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcde")
    assert list(chunks(tmp_path / "file", 2)) == [b"ab", b"cd", b"e"]
    with pytest.raises(HvcodError, match="none: cannot be read: No such file"):
        list(chunks(tmp_path / "none", 2))
