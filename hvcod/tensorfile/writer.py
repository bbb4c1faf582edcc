"""Writes files one after the other on a thread of its own, whatever the disk does."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Generic, Protocol, TypeVar

from hvcod.errors import HvcodError, reason_of
from hvcod.files import whole
from hvcod.files.folder import Folder, make_folder
from hvcod.files.temporaries import sweep
from hvcod.tensorfile.decode import claims_of
from hvcod.tensorfile.steps import checkpoint_path, prune
from hvcod.tensorfile.worker import Worker

logger = logging.getLogger("hvcod.exchange")

Item = TypeVar("Item")


class Content(Protocol):
    """The content of a file."""

    def __len__(self) -> int:
        """Its bytes."""
        ...

    def write_to(self, file: BinaryIO) -> None:
        """Writes it to an empty file; raises OSError."""
        ...


@dataclass
class WriterCounters:
    """Counts of a writer's work, and figures of the last file.

    Attributes:
        dropped: Items that a newer one overtook while they waited.
        existing: Items of a step whose file exists already and is not to be replaced.
        seconds: What it took to build and write the last file.
        bytes: Size of the last file.
        all_bytes: Size of all files that were written.
        last_error: Why the last item was not written; empty if it was, or its file existed.
    """

    written: int = 0
    dropped: int = 0
    existing: int = 0
    failed: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0
    bytes: int = 0
    all_bytes: int = 0
    last_error: str = ""


class Writer(Generic[Item]):
    """Writes items to one directory, one file for each step, on a thread of its own.

    While one is being written the newest waits and older ones are dropped. A failure (a full
    disk, no permission, NaN in the weights) costs that one file: it is counted, logged once per
    cause, and leaves nothing behind. A directory has one writer only.
    """

    def __init__(
        self,
        directory: Path,
        build: Callable[[Item], Content],
        *,
        keep: int | None,
        replace: bool,
        what: str,
        later: bool = True,
    ) -> None:
        """
        Args:
            directory: Where the files appear; it is made when it is needed.
            build: Makes a file's content from an item, on the thread.
            keep: How many generations stay; None keeps all.
            replace: Whether the file of a step may replace an older one.
            what: What the log calls a file.
            later: Whether files of later steps than the one just written stay.
        """
        self.counters = WriterCounters()
        self._what, self._directory, self._build = what, directory, build
        self._keep, self._replace, self._later = keep, replace, later
        self._wake = threading.Condition()
        self._waiting: tuple[int, Item] | None = None
        self._busy = self._closing = self._ended = False
        self._logged: set[str] = set()
        self._own: dict[str, bool] = {}
        self._worker = Worker(f"hvcod-{what.split()[0]}", self._run)

    def write(self, step: int, item: Item) -> None:
        """Hands over `item`, which belongs to the writer from then on; returns at once.

        This and `flush` and `close` raise what the thread died of, a mistake in the program.
        """
        self._worker.check()
        with self._wake:
            self.counters.dropped += self._waiting is not None
            self._waiting = step, item
            self._wake.notify_all()

    def flush(self, timeout: float = 60.0) -> bool:
        """Waits up to `timeout` seconds for all files; returns whether the last is on disk."""
        with self._wake:
            done = self._wake.wait_for(self._is_idle, timeout)
            if not self._ended:
                return done and not self.counters.last_error
        return self._worker.join(timeout) and not self.counters.last_error

    def close(self, timeout: float = 60.0) -> bool:
        """Writes what still waits and ends the thread; returns whether it ended in `timeout` s."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        done = self._worker.join(timeout)
        if not done:
            text = "%s: still writing a %s after %g s; gave up waiting"
            logger.warning(text, self._directory, self._what, timeout)
        return done

    def _is_idle(self) -> bool:
        return self._ended or not (self._busy or self._waiting)

    def _run(self) -> None:
        sweep(self._directory)
        try:
            while (turn := self._next()) is not None:
                self._turn(*turn)
                # Frees its memory before the next one comes.
                del turn
        finally:
            with self._wake:
                self._ended = True
                self._wake.notify_all()

    def _next(self) -> tuple[int, Item] | None:
        with self._wake:
            self._busy = False
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._waiting is not None or self._closing)
            turn, self._waiting = self._waiting, None
            self._busy = turn is not None
            return turn

    def _turn(self, step: int, item: Item) -> None:
        path = checkpoint_path(self._directory, step)
        if not self._replace and self._is_there(step, item):
            # A group that has gone on from an older state reaches steps that it has published.
            self.counters.existing += 1
            self.counters.last_error = ""
            if self.counters.existing == 1:
                logger.info("%s %s exists already and is kept (logged once)", self._what, path)
            return
        try:
            self._write(step, item)
        except (OSError, HvcodError) as error:
            reason = reason_of(error)
            self.counters.failed += 1
            self.counters.last_error = f"{path}: {reason}"
            if reason not in self._logged:
                self._logged.add(reason)
                text = "%s %s not written: %s; training goes on (logged once)"
                logger.warning(text, self._what, path, reason)

    def _is_there(self, step: int, item: Item) -> bool:
        """Returns whether an item has been written before."""
        return os.path.lexists(checkpoint_path(self._directory, step))

    def _write(self, step: int, item: Item) -> None:
        """Writes the file of an item, and removes old ones."""
        path = checkpoint_path(self._directory, step)
        self._put(path, partial(self._build, item))
        is_own = partial(self._is_own, path.name)
        prune(self._directory, step, self._keep, is_own, self._later)

    def _put(self, path: Path, build: Callable[[], Content]) -> None:
        begun = time.perf_counter()
        content = build()
        make_folder(self._directory)
        with whole.whole_file(path, replace=self._replace) as file:
            content.write_to(file)
        counters = self.counters
        counters.bytes, counters.seconds = len(content), time.perf_counter() - begun
        counters.all_bytes += len(content)
        counters.longest_seconds = max(counters.longest_seconds, counters.seconds)
        counters.last_error = ""
        counters.written += 1
        self._own[path.name] = True

    def _is_own(self, written: str, folder: Folder, name: str) -> bool:
        """Returns whether a file is of the same run as the one just written; reads each once."""
        if name not in self._own:
            try:
                runs = [_run_of(folder, each) for each in (name, written)]
            except OSError:
                return False
            self._own[name] = runs[0] == runs[1] is not None
        return self._own[name]


def _run_of(folder: Folder, name: str) -> str | None:
    with folder.open_regular(name) as file:
        claims = claims_of(file)
        return claims[0].run_id if claims else None
