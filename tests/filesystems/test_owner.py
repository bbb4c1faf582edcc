"""The owner of a group's folder on a real network file system, seen from two nodes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filesystems import gluster

from hvcod.errors import HvcodError
from hvcod.training.run import owner
from hvcod.training.run.owner import NAME, Owner

BEAT, WATCH = 1.0, 5.0

PROGRAMS = Path(__file__).parent.parent / "training" / "run"
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}


@pytest.fixture
def folders(
    volume: gluster.Volume, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """One folder of a group as each of the two nodes sees it."""
    for name, value in {"BEAT": BEAT, "WATCH": WATCH, "GRACE": 0.5}.items():
        monkeypatch.setattr(owner, name, value)
    here, there = (client.mount / request.node.name / "group-0" for client in (volume.a, volume.b))
    here.mkdir(parents=True)
    while not there.exists():
        time.sleep(0.1)
    return here, there


@pytest.fixture
def process(folders: tuple[Path, Path]) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the folder, on the first node."""
    words = [str(PROGRAMS / "own.py"), str(folders[0]), str(BEAT), str(WATCH), "elsewhere"]
    with subprocess.Popen(
        [sys.executable, *words],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout
        assert started.stdout.readline() == "taken\n"
        yield started
        started.kill()


def test_of_those_who_take_over_at_once_on_two_nodes_one_succeeds(
    folders: tuple[Path, Path], scale: Callable[[int, int], int]
) -> None:
    # What was replaced is seen by the other node up to two seconds later. On a busy machine a
    # process may even look a beat later, and take hold for a moment, until one of the two notices.
    rounds = scale(1, 3)
    words = [str(PROGRAMS / "take_at_once.py"), str(rounds), "4", "2.5", "0", *map(str, folders)]
    out = subprocess.check_output([sys.executable, *words], env=ENVIRONMENT, text=True, timeout=200)
    assert [line.split()[1:] for line in out.splitlines()] == [["1", "0"]] * rounds


def test_an_owner_on_another_node_is_left_alone_until_it_dies(
    folders: tuple[Path, Path], process: subprocess.Popen[str]
) -> None:
    _, there = folders
    with pytest.raises(HvcodError, match=f"is being trained by process {process.pid} on node7"):
        Owner.take(there)
    process.kill()
    process.wait()
    begun = time.monotonic()
    held = Owner.take(there)
    assert time.monotonic() - begun >= WATCH
    held.close()
    assert not (there / NAME).exists()


def test_nobody_is_taken_for_dead_while_the_file_system_blocks(
    volume: gluster.Volume, folders: tuple[Path, Path], process: subprocess.Popen[str]
) -> None:
    problems: list[HvcodError] = []

    def take() -> None:
        try:
            Owner.take(folders[1]).close()
        except HvcodError as error:
            problems.append(error)

    with gluster.blocked(volume.a):  # so that the first looks see no touch
        time.sleep(2 * BEAT)
        thread = threading.Thread(target=take)
        thread.start()
        time.sleep(2 * BEAT)
        with gluster.blocked(volume.b):
            time.sleep(WATCH + 2 * BEAT)
            assert thread.is_alive()
    thread.join()
    assert f"is being trained by process {process.pid}" in str(problems[0])
    assert process.poll() is None


def test_an_owner_bears_a_file_system_that_blocks(
    volume: gluster.Volume, folders: tuple[Path, Path], process: subprocess.Popen[str]
) -> None:
    with gluster.blocked(volume.a):
        time.sleep(WATCH + 2 * BEAT)
    before = (folders[0] / NAME).stat().st_mtime_ns
    time.sleep(4 * BEAT)
    assert (folders[0] / NAME).stat().st_mtime_ns > before
    assert process.communicate()[0] == "closed\n"
