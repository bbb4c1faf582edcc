"""The signals by which schedulers warn. Imports nothing heavy: they may come during imports."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)


class StopSignals:
    """Records the signals by which schedulers warn of preemption and of the time limit.

    Attributes:
        received: The name of the last one, such as ``SIGUSR1``; empty if none has come.
    """

    def __init__(self) -> None:
        """Handles the signals from now on, and those on `hold`. Call it on the main thread."""
        self.received = ""
        self._handle()

    @contextlib.contextmanager
    def ignored_by_children(self) -> Iterator[None]:
        """Makes processes that are started inside ignore the signals; this one gets them later."""
        hold()
        ignore()
        try:
            yield
        finally:
            self._handle()

    def _handle(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._record)
        release()

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name


def hold() -> None:
    """Makes the signals wait until they are handled, in this process and in those it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def release() -> None:
    """Ends `hold`: signals that have come meanwhile arrive now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def ignore() -> None:
    """Ignores the signals from now on, even while Python itself ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
