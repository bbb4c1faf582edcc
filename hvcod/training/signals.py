"""The signals by which schedulers warn. Imports nothing heavy: they may come during imports."""

import signal
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)


class StopSignals:
    """Records the signals by which schedulers warn of preemption and of the time limit.

    Attributes:
        received: The name of the last one, such as ``SIGUSR1``; empty if none has come.
    """

    def __init__(self) -> None:
        """Handles the signals from now on. Call it on the main thread."""
        self.received = ""
        for number in SIGNALS:
            signal.signal(number, self._record)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
