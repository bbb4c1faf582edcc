"""A process that dies is told from one that is suspended, or that ends by itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hvcod.groups.lifeline import Lifelines

OTHER = """
import sys
from hvcod.groups.lifeline import Door
door = Door(most=2)
print(door.port, flush=True)
for line in sys.stdin:
    door.clear()
    if "farewell" in line:
        door.say_farewell()
    print("done", flush=True)
"""


@pytest.fixture
def other() -> Iterator["subprocess.Popen[str]"]:
    """A process with a door."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OTHER], stdin=pipe, stdout=pipe, text=True) as it:
        yield it
        it.kill()


def connected(other: "subprocess.Popen[str]") -> Lifelines:
    assert other.stdout
    lines = Lifelines({1: ("localhost", int(other.stdout.readline()))})
    assert lines.dead() == []
    return lines


def tell(other: "subprocess.Popen[str]", text: str) -> None:
    assert other.stdin and other.stdout
    print(text, file=other.stdin, flush=True)
    assert other.stdout.readline() == "done\n"


def dead_soon(lines: Lifelines) -> list[int]:
    end = time.monotonic() + 60
    while not (found := lines.dead()):
        assert time.monotonic() < end, "nobody has died"
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("accepted", [False, True])
def test_a_killed_process_is_dead_and_is_told_once(
    other: "subprocess.Popen[str]", accepted: bool
) -> None:
    lines = connected(other)
    if accepted:
        tell(other, "clear")
    os.kill(other.pid, signal.SIGSTOP)
    assert lines.dead() == []  # suspended
    os.kill(other.pid, signal.SIGKILL)
    assert dead_soon(lines) == [1]
    assert lines.dead() == []
    lines.close()


def test_one_that_says_farewell_is_not_called_dead(other: "subprocess.Popen[str]") -> None:
    lines = connected(other)
    tell(other, "farewell")
    other.kill()
    other.wait()
    assert lines.dead() == []


def test_a_door_drops_connections_that_others_have_closed(other: "subprocess.Popen[str]") -> None:
    lines = connected(other)
    lines.close()
    tell(other, "clear")
    tell(other, "farewell")


def test_a_process_that_cannot_be_reached_is_not_called_dead() -> None:
    lines = Lifelines({1: ("localhost", 1), 2: ("no-such-node.invalid", 1)})
    assert lines.dead() == []
