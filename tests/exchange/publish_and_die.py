"""Publishes as fast as it can in process after process, each killed at a random moment.

Each gets one checkpoint out at least, and is killed soon after, at times while it writes a file.

    python publish_and_die.py DIRECTORY KILLS SEED

Every tensor of step S is full of S modulo 2048, so that a reader can tell a mixture. Prints how
many kills left a temporary file behind; the last process publishes once and ends well.
"""

import os
import random
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import torch

from hvcod.exchange.publish import Publisher
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import list_steps


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {f"layer.{i}": torch.full((128, 512), float(step % 2048)) for i in range(8)}


def last_step(directory: Path) -> int:
    return max(list_steps(directory), default=0)


def is_writing(directory: Path, process: int) -> bool:
    """Returns whether the directory holds a temporary file of this process."""
    return any(directory.glob(f".*@{process}.tmp"))


def publish(directory: Path, count: int) -> None:
    step = last_step(directory)
    with closing(Publisher(directory)) as publisher:
        for done in range(count):
            step += 1
            publisher.publish(tensors(step), Origin("run-1", "commoncrawl", 0, step))
            while publisher.counters.written == done:
                time.sleep(0.0005)


def life(directory: Path, count: int) -> int:
    """Starts a process that publishes `count` times; its number."""
    process = os.fork()
    if process == 0:
        publish(directory, count)
        os._exit(0)
    return process


def main(directory: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    interrupted = 0
    for _ in range(kills):
        before, in_a_file = last_step(directory), rng.random() < 0.5
        process = life(directory, 10**9)
        while last_step(directory) == before:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.05))
        while in_a_file and not is_writing(directory, process):
            time.sleep(0.0002)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        interrupted += is_writing(directory, process)
    process = life(directory, 1)
    _, status = os.waitpid(process, 0)
    assert status == 0
    print(interrupted)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
