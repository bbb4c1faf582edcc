"""Stopping in time: signals and the time limit, agreed upon inside a group.

A handler only sets a flag. At the end of each step the ranks of a group agree; then the group saves
its state and the launch exits with 75: submit me again.
"""

import math
import time
from collections.abc import Callable

from hvcod.groups.agreement import any_rank
from hvcod.groups.environment import process_age
from hvcod.groups.split import Group
from hvcod.training.signals import StopSignals

_SPARE_SECONDS = 5.0
"""Left for the end of the processes, beside what saves and steps were seen to take."""


class Preemption:
    """Whether a group is to stop, the same on all of its ranks."""

    def __init__(
        self,
        group: Group,
        signals: StopSignals,
        time_limit: float | None,
        save_seconds: Callable[[], float],
    ) -> None:
        """
        Args:
            group: This rank's group.
            signals: What this process was told.
            time_limit: Seconds from the start of the process until it must have ended.
            save_seconds: How long a save takes; asked on the group root.
        """
        self._group, self._signals, self._save_seconds = group, signals, save_seconds
        self._end = None if time_limit is None else time.monotonic() - process_age() + time_limit
        self._longest_step, self._lap = 0.0, math.inf

    def wished(self) -> bool:
        """Whether this rank wants the group to stop."""
        return bool(self._signals.received) or self._is_late(time.monotonic())

    def reason(self) -> str:
        """Why to stop now; empty if there is no reason. Collective over the group, once a step."""
        now = time.monotonic()
        told, late = bool(self._signals.received), self._is_late(now)
        self._longest_step, self._lap = max(self._longest_step, now - self._lap), now
        # The ranks have just waited for each other's gradients: this costs microseconds.
        told, late = any_rank(self._group.comm, told, late)
        if told:
            return self._signals.received or "a signal to another rank"
        return "the time limit" if late else ""

    def _is_late(self, now: float) -> bool:
        # Each launch makes one step, whatever the limit: the first call comes before it.
        if self._end is None or not self._group.is_root or self._lap == math.inf:
            return False
        needed = (
            2 * max(self._longest_step, now - self._lap) + 2 * self._save_seconds() + _SPARE_SECONDS
        )
        return now + needed > self._end
