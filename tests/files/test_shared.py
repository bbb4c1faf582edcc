"""Small files that several processes share."""

import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hvcod.files import shared
from hvcod.files.shared import create, create_whole, patiently
from hvcod.files.whole import write_whole

Create = Callable[[Path, bytes], bool]


@pytest.mark.parametrize("make", [create, create_whole])
def test_a_file_is_made_once(tmp_path: Path, make: Create) -> None:
    path = tmp_path / "a"
    assert make(path, b"one")
    assert not make(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [create, create_whole])
def test_of_many_at_once_one_makes_it(tmp_path: Path, make: Create) -> None:
    contents = [b"%d" % each for each in range(8)]
    begin = threading.Barrier(len(contents))

    def race(path: Path, content: bytes) -> bool:
        begin.wait()
        return make(path, content)

    with ThreadPoolExecutor(len(contents)) as pool:
        for number in range(20):
            path = tmp_path / str(number)
            made = list(pool.map(race, [path] * len(contents), contents))
            winners = [content for content, won in zip(contents, made, strict=True) if won]
            assert winners == [path.read_bytes()]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_links(source: str, target: str, **more: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    test_a_file_is_made_once(tmp_path, create_whole)


@pytest.mark.parametrize("write", [create, create_whole, write_whole])
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, write: Callable[[Path, bytes], object]
) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no folder" / "a", b"one")
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [letter * 100_000 for letter in (b"a", b"b")]
    create_whole(path, contents[0])
    stop = threading.Event()

    def go_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write_whole(path, contents[number % 2])

    thread = threading.Thread(target=go_on)
    thread.start()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert path.read_bytes() in contents
    stop.set()
    thread.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_look_is_repeated_while_it_fails_in_a_way_that_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.5)
    failures = [OSError(errno.ESTALE, "stale"), ValueError("half")]

    def look() -> int:
        if failures:
            raise failures.pop()
        return 3

    assert patiently(look, OSError, ValueError) == 3
    failures = [KeyError("a mistake")]
    with pytest.raises(KeyError):
        patiently(look, OSError)


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.3)
    begun = time.monotonic()
    with pytest.raises(FileNotFoundError):
        patiently(lambda: Path("/no such file").stat(), OSError)
    assert time.monotonic() - begun >= 0.3
