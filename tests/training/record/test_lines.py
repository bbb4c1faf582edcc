"""Files of JSON lines: whole records, mending, reading from the end."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from training.conftest import Limit

from hvcod.files.appender import Appender
from hvcod.training.record.lines import from_line, keep_lines, last_lines, to_line


def lines_of(*steps: int) -> bytes:
    return b"".join(to_line({"step": step, "wall_s": step / 2}) for step in steps)


@pytest.mark.parametrize("room", [0, 1, 30, 59, 60, 61])
def test_a_record_cut_short_leaves_nothing_and_the_next_ones_are_whole(
    tmp_path: Path, disk: Limit, room: int
) -> None:
    path = tmp_path / "lines"
    appender = Appender(path)
    appender.append(b"a" * 99 + b"\n")
    disk(100 + room)
    record = b"b" * 59 + b"\n"
    if room < 60:
        with pytest.raises(OSError, match="File too large"):
            appender.append(record)
    else:
        appender.append(record)
    assert path.stat().st_size == 100 + (60 if room >= 60 else 0)
    disk(None)
    appender.append(b"c\n")
    appender.sync()
    appender.close()
    assert path.read_bytes().splitlines()[-1] == b"c"
    assert path.stat().st_size == 102 + (60 if room >= 60 else 0)


def test_what_did_not_reach_the_disk_is_cut_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appender = Appender(tmp_path / "lines")
    appender.append(b"on disk\n")
    appender.sync()
    appender.append(b"lost by the server\n")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            appender.sync()
    appender.append(b"later\n")
    appender.sync()
    assert (tmp_path / "lines").read_bytes() == b"on disk\nlater\n"


def test_nan_and_infinity_become_null() -> None:
    figures = {"step": 3, "loss": float("nan"), "deep": {1: [float("inf"), 2.5, (float("-inf"),)]}}
    line = to_line(figures)
    assert json.loads(line) == {"step": 3, "loss": None, "deep": {"1": [None, 2.5, [None]]}}
    assert from_line(line) == json.loads(line)


@pytest.mark.parametrize(
    "garbage",
    [
        b'{"step": 1}',
        b"\n",
        b"\0" * 40 + b"\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b"7\n",
        b'{"loss": 1}\n',
        b'{"step": true}\n',
        b'{"step": "1"}\n',
        b'{"step": 1, "loss\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_garbage_is_no_line(garbage: bytes) -> None:
    assert from_line(garbage) is None


def test_lines_up_to_a_step_stay(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines_of(10, 20, 30, 40))
    assert keep_lines(path, 20) == {"step": 20, "wall_s": 10.0}
    assert path.read_bytes() == lines_of(10, 20)
    assert keep_lines(path, 20) == {"step": 20, "wall_s": 10.0}
    assert keep_lines(path, 0) == {}
    assert path.read_bytes() == b""


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert keep_lines(tmp_path / "metrics.jsonl") == {}
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_a_later_line_ends_the_file_even_if_an_earlier_step_follows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines_of(10, 20, 30, 20))
    keep_lines(path, 20)
    assert path.read_bytes() == lines_of(10, 20)


def test_every_cut_leaves_the_whole_lines_before_it(tmp_path: Path) -> None:
    path, whole = tmp_path / "metrics.jsonl", lines_of(10, 20, 30)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        last = keep_lines(path)
        count = whole[:cut].count(b"\n")
        assert path.read_bytes() == lines_of(*(10, 20, 30)[:count])
        assert last.get("step") == (None, 10, 20, 30)[count]


@pytest.mark.parametrize("tail", [b"", b"\0" * 500, b"\xff\n" * 9, b'{"step": 30, "lo'])
def test_garbage_between_lines_does_not_cost_those_behind_it(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines_of(10) + b"\0" * 4096 + b"\n\xff{\n" + lines_of(20, 30, 40) + tail)
    keep_lines(path, 30)
    read = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in read] == [10, 20, 30]
    content = path.read_bytes()
    assert keep_lines(path, 30)["step"] == 30
    assert path.read_bytes() == content


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.write(lines_of(10))
        file.truncate(40 * 2**20)
    tracemalloc.start()
    assert keep_lines(path)["step"] == 10
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()
    assert path.read_bytes() == lines_of(10)


def test_only_a_regular_file_is_mended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/full")):
        with pytest.raises(OSError, match="is not a regular file; remove it"):
            keep_lines(path)


@pytest.mark.parametrize("size", [1, 7, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_000])
def test_lines_come_back_from_the_last_to_the_first(tmp_path: Path, size: int) -> None:
    path = tmp_path / "lines"
    lines = [f"{n}:".encode() + b"x" * (n * size % 70_000) + b"\n" for n in range(9)]
    path.write_bytes(b"".join(lines) + b"cut sho")
    assert list(last_lines(path, 10**9)) == lines[::-1]
    path.write_bytes(b"".join(lines))
    assert list(last_lines(path, 10**9)) == lines[::-1]


def test_only_the_end_of_a_file_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"aaaa\nbbbb\ncccc\n")
    assert list(last_lines(path, 14)) == [b"cccc\n", b"bbbb\n"]
    assert list(last_lines(path, 5)) == []
    path.write_bytes(b"")
    assert list(last_lines(path, 5)) == []


PROGRAM = """
import sys
from pathlib import Path
from hvcod.files.appender import Appender
from hvcod.training.record.lines import keep_lines, to_line
path = Path(sys.argv[1])
last = keep_lines(path).get("step", 0)
file = Appender(path)
print(flush=True)
for step in range(last + 1, 10**9):
    file.append(to_line({"step": step, "text": "x" * 3000}))
"""


def test_killed_at_any_moment_it_goes_on_without_a_line_missing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for life in range(8):
        command = [sys.executable, "-c", PROGRAM, str(path)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        time.sleep(0.003 * life)
        child.kill()
        child.communicate()
    last = keep_lines(path)["step"]
    steps = [json.loads(line)["step"] for line in path.open()]
    assert steps == list(range(1, last + 1))
    assert last > 20
