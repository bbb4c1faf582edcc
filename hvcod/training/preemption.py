"""Stopping in time: signals and the time limit, agreed upon inside a group.

A signal's handler only sets a flag. The ranks of a group exchange their flags with each step and
act on them one step later, so that no rank waits for another; ranks that go at paces of their own
do so by a board (`hvcod.groups.pace`). Then the group saves its state, and the launch exits with
75: submit it again.
"""

import math
import time
from collections.abc import Callable

from hvcod.errors import GroupFailedError
from hvcod.groups.agreement import Agreement, any_rank
from hvcod.groups.environment import process_age
from hvcod.groups.split import Group
from hvcod.training.signals import StopSignals

_SPARE_SECONDS = 5.0
"""Kept for the end of the processes, beside what steps and saves were measured to take."""

_STEPS = 3
"""Steps that must still fit into the time limit: one until all ranks know, one that they make
before they look again, and one for safety."""


class Preemption:
    """Decides when a group stops, at the same step on all of its ranks."""

    def __init__(
        self,
        group: Group,
        signals: StopSignals,
        time_limit: float | None,
        save_seconds: Callable[[], float],
        lost: Callable[[], str] = lambda: "",
    ) -> None:
        """Collective over the group.

        Args:
            time_limit: Seconds from the start of the process until it must have ended.
            save_seconds: Returns how long a save takes; called on the group root.
            lost: Returns why the group cannot go on in its folder, on the rank that knows.
        """
        self._group, self._signals, self._save_seconds = group, signals, save_seconds
        self._lost = lost
        self._end = None if time_limit is None else time.monotonic() - process_age() + time_limit
        self._longest_step, self._lap = 0.0, math.inf
        self._agreement = Agreement(group.comm, [False] * 3)
        self._exchange = group.pace.exchange if group.pace else self._agreement.exchange
        self._waited = False

    def requested(self) -> bool:
        """Returns whether this rank wants the group to stop.

        Called while the group waits for something, on all ranks or on none: if they agree to give
        up that wait, no step may follow, and the next `reason` is agreed upon at once.
        """
        self._waited = True
        return any(self._flags())

    def reason(self) -> str:
        """Returns why to stop now; empty if there is no reason.

        Called on all ranks of the group, once before each step. Waits for the other ranks only
        where the group has just waited for something, and before and after the first step.

        Raises:
            GroupFailedError: The group has lost its folder.
        """
        flags, now = self._flags(), time.monotonic()
        # Before the first step and after it, whose length nobody knew: not a step late.
        at_once = self._waited or not self._longest_step
        self._longest_step, self._lap = max(self._longest_step, now - self._lap), now
        self._waited = False
        if at_once:
            signalled, late, lost = any_rank(self._group.comm, *flags)
        else:
            signalled, late, lost = map(bool, self._exchange(flags))
        if lost:
            raise GroupFailedError(self._lost() or "the group has lost its folder", save=True)
        if signalled:
            return self._signals.received or "a signal to another rank"
        return "the time limit" if late else ""

    def close(self) -> None:
        """Ends the exchange of flags. Collective over the group."""
        self._agreement.close()

    def _flags(self) -> tuple[bool, bool, bool]:
        late = self._is_late(time.monotonic())
        return bool(self._signals.received), late, bool(self._lost())

    def _is_late(self, now: float) -> bool:
        # Each launch makes one step, whatever the limit: the first call comes before it.
        if self._end is None or not self._group.is_root or self._lap == math.inf:
            return False
        step = max(self._longest_step, now - self._lap)
        return now + _STEPS * step + 2 * self._save_seconds() + _SPARE_SECONDS > self._end
