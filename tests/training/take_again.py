"""Takes hold of a folder and lets go of it as fast as it can, in process after process.

Each takes over from the one before, and is killed at a random moment; the last ends well.

    python take_again.py FOLDER KILLS SEED

Prints how many had taken over when they were killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from hvcod.training import owner
from hvcod.training.claim import Claim
from hvcod.training.owner import NAME, Owner


def life(folder: Path, count: int) -> int:
    """Starts a process that takes the folder `count` times; its number."""
    process = os.fork()
    if process == 0:
        for _ in range(count):
            Owner.take(folder).close()
        os._exit(0)
    return process


def main(folder: Path, kills: int, seed: int) -> None:
    owner.GRACE = 0.01
    rng = random.Random(seed)
    took = 0
    for _ in range(kills):
        process = life(folder, 10**9)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "ended by itself"
        path = folder / NAME
        claim = Claim.parse(path.read_bytes()) if path.exists() else None
        took += claim is not None and claim.pid == process
    process = life(folder, 1)
    _, status = os.waitpid(process, 0)
    assert status == 0
    print(took)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
