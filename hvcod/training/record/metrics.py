"""The file of metrics of a group, ``metrics.jsonl``."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hvcod.errors import HvcodError, reason_of
from hvcod.files.appender import Appender
from hvcod.tensorfile.worker import Worker
from hvcod.training.record.lines import keep_lines, number, to_line

_Entry = bytes | threading.Event

_MOST_WAITING = 10_000
_SECONDS_BETWEEN_SYNCS = 5.0

log = logging.getLogger("hvcod.training")


class MetricsFile:
    """Appends one JSON object a line, on a thread of its own: training never waits for the disk.

    A full disk or a file system that hangs costs lines, not the run, and each cause is reported
    once. A line is written whole or not at all.

    Attributes:
        wall_s: Training time in seconds of the last line that the file had before.
        kept: Bytes of the lines that the file had before.
        lost: How many lines could not be written.
    """

    def __init__(self, path: Path, *, after: int = 0) -> None:
        """
        Args:
            path: The file; its lines of steps after `after` are removed.
            after: The step from which training goes on.

        Raises:
            HvcodError: The file cannot be read or written.
        """
        try:
            kept = keep_lines(path, after)
            self._file = Appender(path)
        except OSError as error:
            raise HvcodError(f"cannot write the metrics {path}: {error.strerror}") from error
        self.kept = self._file.size
        self.wall_s: float = number(kept, "wall_s", 0.0)
        self.lost = 0
        self._path = path
        self._reported: set[str] = set()
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._worker = Worker("hvcod-metrics", self._run)

    def write(self, figures: Mapping[str, Any]) -> None:
        """Appends one line; returns at once. Raises the error of the thread, a mistake of ours."""
        self._worker.check()
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(to_line(figures))
        else:
            self._lose(f"{_MOST_WAITING} lines wait for the file system already")

    def sync(self, timeout: float = 10.0) -> None:
        """Puts the lines so far on disk; gives up after `timeout` seconds. For other threads."""
        done = threading.Event()
        self._waiting.put(done)
        done.wait(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Writes waiting lines and ends the thread; returns whether `timeout` seconds were enough.

        Raises the error of the thread, a mistake in the program.
        """
        self._waiting.put(None)
        done = self._worker.join(timeout)
        if not done:
            log.warning("%s: still writing after %g s; gave up waiting", self._path, timeout)
        if self.lost:
            log.warning("%s: %d lines of metrics were lost", self._path, self.lost)
        return done

    def _run(self) -> None:
        synced = time.monotonic()
        while (entry := self._waiting.get()) is not None:
            if isinstance(entry, threading.Event):
                self._sync()
                entry.set()
                continue
            with self._losing():
                self._file.append(entry)
            if time.monotonic() - synced > _SECONDS_BETWEEN_SYNCS:
                self._sync()
                synced = time.monotonic()
        self._sync()
        self._file.close()

    def _sync(self) -> None:
        with self._losing():
            self._file.sync()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._lose(reason_of(error))

    def _lose(self, reason: str) -> None:
        with self._lock:
            self.lost += 1
            first = reason not in self._reported
            self._reported.add(reason)
        if first:
            log.warning("metrics are being lost: %s: %s (told once)", self._path, reason)
