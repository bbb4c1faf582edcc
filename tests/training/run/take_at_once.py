"""Several processes take over from a dead owner at the same moment, round after round.

    python take_at_once.py ROUNDS PROCESSES BEAT WATCH FOLDER...

If WATCH is not 0 the dead owner was on another machine, so that all wait for so many seconds. The
processes use the folders in turn: one folder, as several mounts of its file system show it. Prints
one line a round: how many took hold of the folder, how many of those still had it at the end, and
how many files were left in it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from training.run.own import elsewhere

from hvcod.errors import HvcodError
from hvcod.training.run import owner
from hvcod.training.run.claim import Claim

REFUSED, LOST = 3, 4


def leave_a_dead_claim(folder: Path, watched: bool) -> None:
    process = os.fork()
    if process == 0:
        with elsewhere() if watched else contextlib.nullcontext():
            (folder / owner.NAME).write_bytes(Claim.here().to_bytes())
        os._exit(0)
    os.waitpid(process, 0)


def take(folder: Path, at: float, done: int) -> int:
    """Takes hold, keeps it until `done` is closed; the exit code."""
    while time.monotonic() < at:
        pass
    try:
        held = owner.Owner.take(folder)
    except HvcodError:
        return REFUSED
    mine = Claim.here()
    os.read(done, 1)
    time.sleep(3 * owner.BEAT)
    claim = Claim.parse((folder / owner.NAME).read_bytes())
    held.close()
    return 0 if claim and claim.pid == mine.pid else LOST


def compete(folders: Sequence[Path], processes: int) -> list[int]:
    """The exit codes of processes that take the folder at the same moment."""
    reading, writing = os.pipe()
    at = time.monotonic() + 0.02
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os._exit(take(folders[number % len(folders)], at, reading))
        children.append(child)
    os.close(reading)
    codes = []
    # All but one are refused; then that one is told, and ends too.
    for _ in range(processes - 1):
        codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
    os.close(writing)
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
    return codes


def main(rounds: int, processes: int, beat: float, watch: float, *folders: Path) -> None:
    owner.BEAT, owner.WATCH, owner.GRACE = beat, watch or 5.0, 0.02
    for _ in range(rounds):
        leave_a_dead_claim(folders[0], watched=watch > 0)
        codes = compete(folders, processes)
        left = len(list(folders[0].iterdir()))
        print(processes - codes.count(REFUSED), codes.count(0), left, flush=True)


if __name__ == "__main__":
    numbers, paths = sys.argv[1:5], map(Path, sys.argv[5:])
    main(int(numbers[0]), int(numbers[1]), float(numbers[2]), float(numbers[3]), *paths)
