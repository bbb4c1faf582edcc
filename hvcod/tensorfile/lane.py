"""Work that goes on beside the thread that asks for it."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hvcod.tensorfile.worker import Worker

_CHECKED = 0.1


class Lane:
    """Calls functions one after the other on a thread of its own, which starts with the first.

    At the end of a ``with`` block all calls have been made. An exception that one raised skips the
    rest and is raised there; if the block itself ends with an exception, the rest is skipped, too.
    The thread does not keep a process that ends alive.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._worker: Worker | None = None
        self._skip = False

    def call(self, function: Callable[[], object]) -> None:
        """Has a function called after those before; returns at once."""
        self._calls.put(function)
        self._worker = self._worker or Worker("hvcod-lane", self._run)

    def settle(self) -> None:
        """Waits until all calls have been made; raises what one raised."""
        done = threading.Event()
        self.call(done.set)
        while not done.wait(_CHECKED):
            if self._worker:
                self._worker.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._skip = error is not None
        self._calls.put(None)
        if self._worker and error is None:
            self._worker.join(threading.TIMEOUT_MAX)

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            if not self._skip:
                function()
