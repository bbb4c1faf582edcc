"""One node's side of the measurements: writes files on its own mount, and prints when.

    python -m filesystems.writers publish|replace|pointer DIRECTORY COUNT PAUSE

Prints a line ``STEP HANDED_OVER RENAMED`` for each, in seconds of the machine's monotonic clock:
when it was handed over to be written, and when the rename that makes it visible began.

    publish   as hvcod does: new names, by `Publisher`; as fast as it can with a PAUSE of 0
    replace   the alternative: one name, replaced by rename
    pointer   the alternative: a small file that says the newest step, replaced by rename
"""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from tensorfile.crafting import encode

from hvcod.exchange.publish import Publisher
from hvcod.files.folder import opened
from hvcod.files.whole import write_whole
from hvcod.tensorfile.origin import Origin

LATEST = "latest"

Content = Callable[[int], memoryview]


def tensors(step: int) -> dict[str, torch.Tensor]:
    """A megabyte in half precision, full of the step, so that a mixture would show."""
    return {f"layer.{i}": torch.full((128, 512), float(step % 2048)) for i in range(8)}


def about(step: int) -> Origin:
    return Origin("run-1", "commoncrawl", 0, step)


class Clock:
    """Remembers when the last rename began."""

    def __init__(self) -> None:
        self.renamed = 0.0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename":
            self.renamed = time.monotonic()


def publish(directory: Path, count: int, pause: float) -> None:
    clock = Clock()
    with closing(Publisher(directory)) as publisher:
        for step in range(1, count + 1):
            handed_over = time.monotonic()
            publisher.publish(tensors(step), about(step))
            while publisher.counters.written < step:
                assert not publisher.counters.failed, "see the warning"
                time.sleep(0.0005)
            print(step, handed_over, clock.renamed, flush=True)
            time.sleep(pause)


def replace(directory: Path, count: int, pause: float, content: Content) -> None:
    clock = Clock()
    for step in range(1, count + 1):
        handed_over = time.monotonic()
        temporary = directory / f"{LATEST}.{step}"
        write_whole(temporary, content(step), replace=False)
        temporary.rename(directory / LATEST)
        with opened(directory) as folder:
            folder.sync()
        print(step, handed_over, clock.renamed, flush=True)
        time.sleep(pause)


def pointer(step: int) -> memoryview:
    return memoryview(f"{step}\n".encode())


def image(step: int) -> memoryview:
    return encode(tensors(step), about(step))


def main(kind: str, directory: Path, count: int, pause: float) -> None:
    torch.set_num_threads(1)
    if kind == "publish":
        publish(directory, count, pause)
    else:
        replace(directory, count, pause, {"replace": image, "pointer": pointer}[kind])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
