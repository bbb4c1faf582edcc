"""The stop file of a run: ``hvcod job stop`` writes it, and groups that train there save and stop.

It works where signals do not reach the ranks, or end the job (``qsig`` of PBS). Nobody removes the
file: who starts later takes no notice of one that is already there.
"""

import contextlib
import datetime
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.files.whole import write_whole
from hvcod.folders import groups_in
from hvcod.training.run.owner import NAME as OWNER
from hvcod.training.signals import StopSignals

NAME = "stop"

COMMAND = "hvcod job stop"
"""The reason that the summary of a stopped group gives."""

_DEEPEST = 5
"""Folders between that of an experiment and its runs: runs/STUDY/retrains/METHOD/NUMBER."""

LOOK = 2.0
"""Seconds between two looks."""


class StopFile:
    """The stop file of a run or of a job's folder; one that is there already does not count."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._known = self._identity()

    def is_new(self) -> bool:
        """Returns whether the file was written since this object was made."""
        return self._identity() not in (None, self._known)

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.lstat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


@contextlib.contextmanager
def watched(folder: Path, signals: StopSignals) -> Iterator[None]:
    """Takes a new stop file for a signal while the block runs; group roots do this.

    A thread looks for it, so that a file system that blocks does not hold up the training.
    """
    closing = threading.Event()

    def look(file: StopFile) -> None:
        while not closing.wait(LOOK):
            if file.is_new():
                signals.received = signals.received or COMMAND
                return

    words = (StopFile(folder),)
    threading.Thread(target=look, args=words, name="hvcod-stop-file", daemon=True).start()
    try:
        yield
    finally:
        closing.set()


def ask_to_stop(folder: Path, jobs: Sequence[Path] = ()) -> list[Path]:
    """Writes the stop file of a run, or of a folder of runs; returns the runs in training.

    Args:
        jobs: Folders of its jobs, which look there.

    Raises:
        HvcodError: One cannot be written.
    """
    runs = sorted(set(_in_training(folder)))
    text = f"{datetime.datetime.now().astimezone():%FT%T%z} {socket.gethostname()} {os.getpid()}\n"
    for path in (each / NAME for each in {folder, *runs, *jobs}):
        try:
            write_whole(path, text.encode())
        except OSError as error:
            raise HvcodError(f"cannot write {path}: {error.strerror}") from error
    return runs


def _in_training(folder: Path) -> Iterator[Path]:
    for depth in range(_DEEPEST + 1):
        owned = [path.parent for path in folder.glob(f"{'*/' * depth}group-*/{OWNER}")]
        yield from (path.parent for path in owned if groups_in([path.name]))
