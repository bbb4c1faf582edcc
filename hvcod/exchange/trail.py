"""The steps under which a teacher's group has published: which are fresher, and which credible.

Only the names of files are looked at, so a name that is not credible costs no read.
"""

from collections.abc import Iterable, Sequence

LEAP = 100
"""A group that makes more steps than this while another one makes a single step is not credible."""

LAST = 10**12
"""No run has more steps than this."""


class Trail:
    """The steps of one teacher, as its reader follows them. No clock is compared.

    Attributes:
        taken: Step of the newest weights that were read; -1 for none.
    """

    def __init__(self, held: int = -1, last: int | None = None) -> None:
        """
        Args:
            held: Step of the weights that are here already; -1 for none.
            last: The run's last step; None if it is unknown.
        """
        self.taken = held
        self._last = LAST if last is None else last
        self._bad: set[int] = set()
        self._doubted: set[int] = set()
        self._lower: set[int] = set()
        self._known: set[int] | None = None
        self._rejected: int | None = None
        self._taken_at: int | None = None
        self._own: int | None = None
        self._stride = 0

    def fresher(self, steps: Sequence[int], own: int) -> tuple[list[int], dict[int, str]]:
        """Returns the steps to try, the best first, and {step: reason} of those refused anew.

        Args:
            steps: Those of all files in the group's directory, ascending.
            own: The step of the group that looks.
        """
        if self._own is not None:
            self._stride = max(self._stride, own - self._own)
        self._own = own
        self._leave_rejected(steps)
        self._bad.intersection_update(steps)
        refused = self._beyond(steps) | self._contradicted(steps, own)
        self._bad.update(refused)
        good = [step for step in steps if step > self.taken and step not in self._bad]
        leaps = {step: leap for step in good if (leap := self._leap(step, own))}
        # Not bad for good: perhaps this group stood still.
        refused |= {step: leap for step, leap in leaps.items() if step not in self._doubted}
        self._doubted, self._known = set(leaps), set(steps)
        return [step for step in reversed(good) if step not in leaps], refused

    def took(self, step: int) -> None:
        """Notes that the weights of a step were read."""
        self.taken, self._taken_at = step, self._own

    def unusable(self, step: int) -> None:
        """Notes that the file of a step is never to be read again: its content cannot change."""
        self._bad.add(step)

    def reject(self, step: int) -> None:
        """Notes that the weights of a step, which were taken, turned out to be useless.

        What was published before them is no substitute, but what appears from now on is, even
        under a lower number: the number may have been as wrong as the weights. May be called on
        another thread.
        """
        self._rejected = step

    def _leave_rejected(self, steps: Iterable[int]) -> None:
        rejected, self._rejected = self._rejected, None
        if rejected is not None and self.taken == rejected:
            known = set(steps) if self._known is None else self._known
            self._bad |= {step for step in known if step <= rejected} | {rejected}
            self.taken, self._taken_at = -1, None
            self._lower.clear()

    def _beyond(self, steps: Iterable[int]) -> dict[int, str]:
        reason = f"is beyond the run's last step, {self._last}"
        return {step: reason for step in steps if step > self._last and step not in self._bad}

    def _contradicted(self, steps: Iterable[int], own: int) -> dict[int, str]:
        """Returns the steps above which the group cannot be, as it has published lower ones since.

        Only if this group has not come that far itself. Otherwise the teacher may have gone on from
        an older step, and what it had learned before is still the best there is.
        """
        new = set(steps) - (set(steps) if self._known is None else self._known) - self._bad
        if self.taken <= own or max(new, default=0) > self.taken:
            self._lower.clear()
            return {}
        self._lower |= new
        # A single name may have been late in a listing.
        if len(self._lower) < 2:
            return {}
        live = max(self._lower)
        reason = f"is ahead of its group, which has published step {live} since"
        self.taken, self._taken_at = live - 1, own
        self._lower.clear()
        return {step: reason for step in steps if step > live and step not in self._bad}

    def _leap(self, step: int, own: int) -> str:
        """Returns why a group cannot have come that far since its last weights were taken."""
        if self._taken_at is None or not self._stride:
            return ""
        steps, made = step - self.taken, max(own - self._taken_at, self._stride)
        if steps <= LEAP * made:
            return ""
        return f"is {steps} steps ahead of the last one, while this group made {made}"
