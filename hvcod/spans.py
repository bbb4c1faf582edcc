"""The parts of a training step, and the time that each takes.

Code that works in a step marks its part: ``with ALLREDUCE: ...``. Parts may lie in each other; time
in the inner one does not count for the outer one, so all parts add up to the step. Without a
`Clock` that runs, the marks do nothing. They are for the thread that trains.

Times are the host's: nothing is waited for. On a GPU most of them are short, as work is only queued
there, and the part that first needs a number from the GPU, the update, waits for all of it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter

PARTS = (
    "data",
    "forward",
    "teachers",
    "backward",
    "allreduce",
    "update",
    "exchange",
    "agreement",
    "other",
)
"""The names of the parts; what is in none of the others is ``other``."""

_OTHER = PARTS.index("other")

MakeRange = Callable[[str], AbstractContextManager[object]]
"""Returns the context of a named range, for a profiler."""


class Clock:
    """The seconds of the parts of one step; at most one clock of a process runs.

    Attributes:
        ranges: Makes a profiler's range of each part, if there is one; set between two steps.
    """

    def __init__(self) -> None:
        self.ranges: MakeRange | None = None
        self._seconds = [0.0] * len(PARTS)
        self._part, self._outer = _OTHER, list[int]()
        self._open: list[AbstractContextManager[object]] = []
        self._last = perf_counter()

    def start(self) -> None:
        """Runs from now on, in place of another clock, and goes on with what it has measured."""
        global _running
        _running, self._last = self, perf_counter()

    def stop(self) -> None:
        """Stands still."""
        global _running
        self._turn(self._part)
        _running = None

    def lap(self) -> list[float]:
        """Returns the seconds of each of `PARTS` since the last lap, and begins the next."""
        self._turn(self._part)
        seconds, self._seconds = self._seconds, [0.0] * len(PARTS)
        return seconds

    def enter(self, part: int) -> None:
        """Begins a part, by its place in `PARTS`."""
        self._outer.append(self._part)
        if self.ranges:
            self._open.append(self.ranges(PARTS[part]))
            self._open[-1].__enter__()
        self._turn(part)

    def leave(self) -> None:
        """Ends the part that was entered last."""
        self._turn(self._outer.pop())
        if self._open:
            self._open.pop().__exit__(None, None, None)

    def _turn(self, part: int) -> None:
        now = perf_counter()
        self._seconds[self._part] += now - self._last
        self._part, self._last = part, now


class Span:
    """The mark of one part, for any number of ``with`` statements."""

    def __init__(self, name: str) -> None:
        self._part = PARTS.index(name)

    def __enter__(self) -> None:
        if _running is not None:
            _running.enter(self._part)

    def __exit__(self, *error: object) -> None:
        if _running is not None:
            _running.leave()


_running: Clock | None = None

DATA = Span("data")
"""Waiting for a batch, and sending it to the device."""

FORWARD = Span("forward")
"""The student's predictions and the task loss."""

TEACHERS = Span("teachers")
"""The teachers' predictions and the distillation loss."""

BACKWARD = Span("backward")
"""Gradients; those that are computed already travel meanwhile."""

ALLREDUCE = Span("allreduce")
"""Waiting until the ranks of the group have averaged their gradients or weights."""

UPDATE = Span("update")
"""Clipping and the optimiser."""

EXCHANGE = Span("exchange")
"""Publishing weights for the other groups, and taking over fresher teachers."""

AGREEMENT = Span("agreement")
"""What the ranks of a group agree upon: stopping, and which teachers to leave out."""
