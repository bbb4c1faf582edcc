"""The signals by which schedulers warn; light: they are heard while the rest is imported."""

import signal
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM)


class StopSignals:
    """Takes note of the signals by which schedulers warn of preemption and of the wall time."""

    def __init__(self) -> None:
        """Handles the signals from now on; call it on the main thread."""
        self.received = ""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
