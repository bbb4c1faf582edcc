"""A light stand-in for ``hvcod`` in tests of jobs, which computes nothing.

``train`` ends when the test says so, by a file ``finish`` in the run directory; like a training, it
exits with 75 after a signal or at its time limit. Other commands only print their arguments.
"""

import itertools
import signal
import sys
import time
from pathlib import Path
from types import FrameType

received: list[str] = []


def note(number: int, frame: FrameType | None) -> None:
    """Handles a signal."""
    received.append(signal.Signals(number).name)


def main(words: list[str]) -> int:
    """Returns the exit code of a command."""
    if words[0] != "train":
        print(*words)
        return 0
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, note)
    options = dict(itertools.pairwise(words))
    limit = float(options.get("--time-limit", "inf").removesuffix("s"))
    end = time.monotonic() + limit
    print("training", options.get("--group", "all"), flush=True)
    while not received and time.monotonic() < end:
        if Path(options["--run-dir"], "finish").exists():
            print("finished", flush=True)
            return 0
        time.sleep(0.02)
    print("saved:", *(received or ["the time limit"]), flush=True)
    return 75


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
