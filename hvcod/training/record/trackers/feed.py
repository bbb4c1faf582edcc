"""The trackers of a group root: each has a process of its own, which a thread feeds."""

import contextlib
import contextvars
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hvcod.tensorfile.worker import Worker
from hvcod.training.record.source import Source
from hvcod.training.record.trackers.base import Ending, Tracked, parsed, scalars

SECONDS_TO_END = 30.0
"""The longest time that the end of a training waits for all of its trackers together, and that they
go on when the group root was killed."""

SECONDS_IF_TOLD = 10.0
"""The same if the training was told to stop: a scheduler does not wait for long, and what is missed
is made up for when the run is resumed."""

_MODULE = "hvcod.training.record.trackers.process"
_PROBLEM = "tracker {}"
_SECONDS_FOR_THREADS = 5.0
_MOST_WAITING = 10_000
_MOST_REPORTED = 10  # A reason may name the step, so that each is another one.
_OF_LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDRA_", "HOROVOD_")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

log = logging.getLogger("hvcod.training")


class Feed:
    """The process of one tracker, and the threads that write to it and read from it.

    Training only puts figures into a queue. A tracker that is slow, hangs, breaks or dies costs
    what it should have tracked, never the training.

    Attributes:
        name: The name of the tracker.
        where: Where it tracks the run; empty until it says so.
        hint: How to look at what was tracked; empty until it has ended.
        lost: How much could not be tracked.
        reason: The first reason of that; empty if there is none.
    """

    def __init__(self, name: str, run: Tracked, kept: int) -> None:
        """`kept` is the number of bytes of the metrics that earlier launches wrote."""
        self.name, self.where, self.hint, self.lost, self.reason = name, "", "", 0, ""
        self._ended = False
        self._reported: set[str] = set()
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: list[Worker] = []
        try:
            self._process = process = _started(run.folder)
        except OSError as error:
            self._lose(f"its process could not be started: {error.strerror}")
            return
        assert process.stdin is not None and process.stdout is not None
        pipes = process.stdin, process.stdout
        about = {"name": name, "run": run.to_json(), "kept": kept}
        self._put({**about, "parent": os.getpid(), "seconds": SECONDS_TO_END})
        self._workers = [
            Worker(f"hvcod-tracker-{name}", _of_group(lambda: self._write(pipes[0]))),
            Worker(f"hvcod-tracker-{name}-answers", _of_group(lambda: self._read(pipes[1]))),
        ]

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Tracks numbers of a step; returns at once."""
        for worker in self._workers:
            worker.check()
        self._put({"step": step, "figures": figures})

    def end(self, ending: Ending) -> None:
        """Tells the tracker the end; returns at once."""
        self._put({"ended": ending.ended, "reason": ending.reason, "summary": ending.summary})
        self._waiting.put(None)

    def join(self, deadline: float) -> None:
        """Waits for the process until `deadline` of the monotonic clock, then kills it."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        code = self._process.poll()
        # Whatever it has started is in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for worker in self._workers:
            worker.join(_SECONDS_FOR_THREADS)
        if not self._ended and code is None:
            self._lose("it did not end in time, and was killed")
        elif not self._ended:
            self._lose(f"its process ended early (exit code {code})")

    def _put(self, message: dict[str, Any]) -> None:
        if self._process is None:
            self._lose(self.reason)
        elif self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(message)
        else:
            self._lose(f"{_MOST_WAITING} lines wait for it already")

    def _write(self, pipe: IO[bytes]) -> None:
        """Writes what waits, until the end; the process may be gone by then."""
        while (message := self._waiting.get()) is not None:
            try:
                pipe.write(json.dumps(message).encode() + b"\n")
                pipe.flush()
            except OSError:
                self._lose("its process is gone")
        with contextlib.suppress(OSError):
            pipe.close()

    def _read(self, pipe: IO[bytes]) -> None:
        """Takes note of what the tracker answers."""
        for line in pipe:
            answer = parsed(line)
            if "began" in answer:
                self.where = answer["began"]
                log.info("tracker %s: %s", self.name, self.where)
            elif "lost" in answer:
                self._lose(answer["lost"])
            elif "ended" in answer:
                self._ended, self.hint = True, answer["ended"]
        pipe.close()

    def _lose(self, reason: str) -> None:
        with self._lock:
            self.lost, self.reason = self.lost + 1, self.reason or reason
            first = reason not in self._reported and len(self._reported) < _MOST_REPORTED
            if first:
                self._reported.add(reason)
        if first:
            log.warning("tracker %s misses figures: %s (told once)", self.name, reason)


class Trackers(Source):
    """The trackers of a group, which its root has; a source of the journal.

    Attributes:
        feeds: One for each.
    """

    def __init__(self, names: Sequence[str], run: Tracked, kept: int) -> None:
        """`kept` is the number of bytes of the metrics that earlier launches wrote."""
        self.feeds = [Feed(name, run, kept) for name in names]

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Tracks the numbers of a line of metrics; returns at once."""
        numbers = scalars({name: figures[name] for name in figures if name != "step"})
        for feed in self.feeds:
            feed.log(step, numbers)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Tells them the end, and says how to look at what they have; waits a bounded time."""
        ending = Ending(summary["ended"], summary["reason"], scalars(summary))
        for feed in self.feeds:
            feed.end(ending)
        told = summary["ended"] == "preempted"
        deadline = time.monotonic() + (SECONDS_IF_TOLD if told else SECONDS_TO_END)
        for feed in self.feeds:
            feed.join(deadline)
            if feed.hint:
                log.info("tracker %s: %s", feed.name, feed.hint)

    @property
    def problems(self) -> Mapping[str, int]:
        """Counts of what could not be tracked, by tracker."""
        return {_PROBLEM.format(feed.name): feed.lost for feed in self.feeds if feed.lost}

    @property
    def reasons(self) -> Mapping[str, str]:
        """The first reason of each, by tracker."""
        return {_PROBLEM.format(feed.name): feed.reason for feed in self.feeds if feed.lost}

    def summary(self) -> Mapping[str, object]:
        """Returns where each tracker has the run."""
        return {"trackers": {feed.name: feed.where for feed in self.feeds}}


def _of_group(work: Callable[[], None]) -> Callable[[], None]:
    """Returns work for a thread whose lines in the log name the group that is at work now."""
    context = contextvars.copy_context()
    return lambda: context.run(work)


def _started(folder: Path) -> "subprocess.Popen[bytes]":
    """Starts the process of a tracker; raises OSError.

    It has no part in MPI, and signals that stop the training pass it by.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_OF_LAUNCHERS)
    }
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
