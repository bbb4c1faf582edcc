"""Inputs: files, folders and globs, the same way for every task."""

from pathlib import Path

import pytest

from hvcod.errors import UsageError
from hvcod.tasks.reading.files import file_size, files_below, is_left_alone, listed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a/c.txt", "a/d.pdf", "a/.e.txt", ".f/g.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def is_text(name: str) -> bool:
    return name.endswith(".txt")


def names(text: str, folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in listed(text, is_text).files)


def test_a_file_stands_for_itself(folder: Path) -> None:
    assert names(f"{folder}/a/d.pdf", folder) == ["a/d.pdf"]
    assert names(f"{folder}/a/.e.txt", folder) == ["a/.e.txt"]
    assert names(f"{folder}/.f/g.txt", folder) == [".f/g.txt"]


def test_a_folder_stands_for_the_files_with_wanted_names(folder: Path) -> None:
    assert names(str(folder), folder) == ["a/c.txt", "b.txt"]


def test_a_glob_stands_for_what_matches_and_is_not_hidden(folder: Path) -> None:
    assert names(f"{folder}/a/*", folder) == ["a/c.txt", "a/d.pdf"]
    assert names(f"{folder}/**/c*", folder) == ["a/c.txt"]


@pytest.mark.parametrize("text", ["none.txt", "a/*.csv", ".f/h", "\0"])
def test_what_matches_nothing_is_named(folder: Path, text: str) -> None:
    with pytest.raises(UsageError, match="nothing matches"):
        listed(f"{folder}/{text}", is_text)
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=r"nothing matches .*empty"):
        listed(f"{folder}/empty", is_text)


def test_files_below_come_in_order(folder: Path) -> None:
    assert list(files_below(folder)) == [".f/", "a/.e.txt", "a/c.txt", "a/d.pdf", "b.txt"]


def test_links_to_folders_are_followed_on_request_but_never_upwards(folder: Path) -> None:
    (folder / "z").symlink_to(folder / "a")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "gone.txt").symlink_to("nowhere")
    plain = [".f/", "a/.e.txt", "a/c.txt", "a/d.pdf", "b.txt", "gone.txt"]
    assert list(files_below(folder)) == plain
    linked = ["z/.e.txt", "z/c.txt", "z/d.pdf"]
    assert list(files_below(folder, follow=True)) == [*plain, *linked]


def test_sizes(folder: Path) -> None:
    assert file_size(folder / "b.txt") == 5
    assert file_size(folder) is None
    with pytest.raises(UsageError, match="gone: cannot be read: No such file"):
        file_size(folder / "gone")


def aside(text: str, folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in listed(text, is_text).left_alone)


@pytest.mark.parametrize(
    "name",
    [
        *(".ipynb_checkpoints", ".snapshot", ".zfs", "@eaDir", "#recycle", "~snapshot"),
        *("lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "__pycache__"),
    ],
)
def test_hidden_folders_and_those_of_file_servers_are_left_alone(name: str, folder: Path) -> None:
    assert is_left_alone(name)
    (folder / "a" / name).mkdir()
    (folder / "a" / name / "c.txt").write_text("a copy")
    assert names(str(folder), folder) == ["a/c.txt", "b.txt"]
    expected = sorted([".f", "a/.e.txt", f"a/{name}"])
    assert aside(str(folder), folder) == expected
    assert names(f"{folder}/**/*.txt", folder) == ["a/c.txt", "b.txt"]
    assert aside(f"{folder}/**/*.txt", folder) == expected


@pytest.mark.parametrize("text", [".f", ".f/*", ".f/**/*.txt"])
def test_a_folder_that_the_user_names_is_read(text: str, folder: Path) -> None:
    assert [path.name for path in listed(f"{folder}/{text}", is_text).files] == ["g.txt"]


@pytest.mark.parametrize("name", ["cat", "n01440764", "@home", "snapshot", "lost", "_x"])
def test_other_folders_are_not_left_alone(name: str) -> None:
    assert not is_left_alone(name)


def test_if_nothing_else_is_there_what_was_left_alone_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing matches .*left alone: .*/a/\.e\.txt"):
        listed(f"{folder}/a/.*.txt", is_text)
