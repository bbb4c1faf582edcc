"""Folders that are held: reached through their descriptor, and nothing in them is a link."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hvcod.files import folder as folders
from hvcod.files.appender import Appender
from hvcod.files.folder import Held, hold, make_folder, opened
from hvcod.files.shared import append, create, create_whole
from hvcod.files.temporaries import sweep, temporary_name
from hvcod.files.whole import write_whole

Write = Callable[[Path, bytes], object]


def appended(path: Path, content: bytes) -> None:
    file = Appender(path)
    file.append(content)
    file.close()


NEW: list[Write] = [create, create_whole, write_whole]
IN_PLACE: list[Write] = [append, appended]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a folder of a group; whose path goes through a link, as scratch folders' do."""
    (tmp_path / "disk/run/group-0").mkdir(parents=True)
    (tmp_path / "scratch").symlink_to("disk")
    return tmp_path / "scratch/run"


@pytest.fixture
def held(run: Path) -> Iterator[Held]:
    holding = hold(run)
    yield holding
    holding.release()


@pytest.mark.parametrize("write", NEW + IN_PLACE)
def test_what_is_written_goes_where_a_held_folder_was_moved(
    run: Path, held: Held, tmp_path: Path, write: Write
) -> None:
    run.rename(tmp_path / "moved")
    (run / "group-0").mkdir(parents=True)
    (run / "group-0/other").write_bytes(b"another run's")
    write(run / "group-0/file", b"content")
    assert (tmp_path / "moved/group-0/file").read_bytes() == b"content"
    assert [path.name for path in run.rglob("*")] == ["group-0", "other"]


@pytest.mark.parametrize("write", NEW + IN_PLACE)
def test_no_link_is_followed_below_a_held_folder(
    run: Path, held: Held, tmp_path: Path, write: Write
) -> None:
    (tmp_path / "victim").mkdir()
    (run / "published").symlink_to(tmp_path / "victim")
    with pytest.raises(
        OSError,
        match=r"^\[Errno 22\] published is a symbolic link: put what it points to into its place",
    ):
        write(run / "published/file", b"content")
    with pytest.raises(OSError, match="published is a symbolic link"):
        make_folder(run / "published/deeper")
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.parametrize("write", NEW + IN_PLACE)
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_a_link_in_the_place_of_a_file_harms_nothing_that_it_points_to(
    tmp_path: Path, write: Write, target: str
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "file").symlink_to(target)
    if write in IN_PLACE:
        with pytest.raises(OSError, match="file is a symbolic link: put what"):
            write(tmp_path / "file", b"content")
    else:
        assert write(tmp_path / "file", b"content") in (False, None)
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("write", IN_PLACE)
def test_only_a_regular_file_of_one_name_is_changed_in_place(tmp_path: Path, write: Write) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "second").hardlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="pipe is not a regular file; remove it"):
        write(tmp_path / "pipe", b"content")
    with pytest.raises(OSError, match=r"second has a second name.*: replace it by a copy"):
        write(tmp_path / "second", b"content")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_temporary_names_cannot_be_guessed() -> None:
    names = {temporary_name("step-00000050.h5") for _ in range(100)}
    assert len(names) == 100


def test_a_folder_is_held_until_its_last_holder_releases_it(run: Path, held: Held) -> None:
    again = hold(run)
    assert again is held
    again.release()
    assert folders._HELD[run] is held
    other = hold(run / "group-0")
    other.release()
    assert [path for path in folders._HELD if path.is_relative_to(run)] == [run]


def test_the_check_of_the_nearest_held_folder_comes_before_each_use(run: Path, held: Held) -> None:
    group = hold(run / "group-0")
    record = Appender(run / "group-0/record")

    def lost() -> None:
        raise OSError(errno.EPERM, "lost")

    group.check = lost
    for write in NEW + IN_PLACE:
        with pytest.raises(OSError, match="lost"):
            write(run / "group-0/file", b"content")
    with pytest.raises(OSError, match="lost"):
        record.append(b"content")
    write_whole(run / "config.toml", b"content")
    assert (run / "group-0/record").read_bytes() == b""
    assert sorted(path.name for path in run.rglob("*")) == ["config.toml", "group-0", "record"]
    group.release()


def test_sweeping_leaves_the_folder_behind_a_link_alone(
    run: Path, held: Held, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / temporary_name("file")).touch()
    (run / "published").symlink_to(victim)
    sweep(run / "published")
    assert len(list(victim.iterdir())) == 1


def test_a_descriptor_that_is_not_valid_any_more_is_renewed(
    run: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of a network file system's server; simulated."""
    errors, below = [errno.ESTALE], folders._below

    def stale(*arguments: Any) -> object:
        if errors:
            raise OSError(errors.pop(), "stale")
        return below(*arguments)

    monkeypatch.setattr(folders, "_below", stale)
    write_whole(run / "file", b"content")
    assert (run / "file").read_bytes() == b"content"
    with opened(run) as folder:
        assert sorted(folder.names()) == ["file", "group-0"]
