"""Takes hold of a folder and lets go of it as fast as it can, in process after process.

Each takes over from the one before, and is killed at a random moment, half of them once they had
taken over; the last ends well.

    python take_again.py FOLDER KILLS SEED

Prints how many held the folder when they were killed.
"""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from hvcod.training.run import owner
from hvcod.training.run.claim import Claim
from hvcod.training.run.owner import NAME, Owner


def life(folder: Path, count: int) -> int:
    """Starts a process that takes the folder `count` times; its number."""
    process = os.fork()
    if process == 0:
        for _ in range(count):
            Owner.take(folder).close()
        os._exit(0)
    return process


def holds(folder: Path, process: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        claim = Claim.parse((folder / NAME).read_bytes())
        return claim is not None and claim.pid == process
    return False


def main(folder: Path, kills: int, seed: int) -> None:
    owner.GRACE, owner.WATCH = 0.02, 0.35
    rng = random.Random(seed)
    held = 0
    for _ in range(kills):
        later = rng.random() < 0.5
        process = life(folder, 10**9)
        while later and not holds(folder, process):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.02))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "ended by itself"
        held += holds(folder, process)
    process = life(folder, 1)
    _, status = os.waitpid(process, 0)
    assert status == 0
    print(held)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
