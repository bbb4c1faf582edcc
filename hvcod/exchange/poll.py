"""Finds fresher weights of a group's teachers, off the training thread."""

import errno
import logging
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvcod.errors import HvcodError, reason_of
from hvcod.exchange.assemble import Arrival, Assembler, IncompleteError
from hvcod.exchange.read import Others
from hvcod.exchange.trail import Trail
from hvcod.tensorfile.errors import DamagedError, RefusedError
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.steps import Published, checkpoint_path, list_published
from hvcod.tensorfile.worker import Worker

logger = logging.getLogger("hvcod.exchange")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class Failure:
    """The number of reads that failed for one cause, and the last reason with the path."""

    count: int
    last: str


@dataclass
class PollerCounters:
    """Counts of a poller's work.

    Attributes:
        replaced: Checkpoints loaded that a newer one overtook before they were taken.
        failures: By cause: `damaged`, `refused`, `incomplete` (changes upon files that are not
            there), `irregular` (not a regular file), or the system's name of the error, such as
            `ENOENT`.
    """

    listings: int = 0
    loaded: int = 0
    replaced: int = 0
    failures: Counter[str] = field(default_factory=Counter)


class Poller:
    """Watches the directories of a group's teachers on a thread of its own.

    `look` asks for fresher weights, `take` returns those that were found; both return at once.
    After a `look`, each directory is listed repeatedly, with growing pauses, until it holds a
    checkpoint that is newer than the last one and as new as the look asked for: a group that is a
    little ahead of its teacher still gets the checkpoint that the teacher is about to publish. A
    file that cannot be read is counted and logged once per group and cause, and the next older one
    that is still newer is tried. To be used on the group root.
    """

    def __init__(
        self,
        directories: Mapping[int, Path],
        expected: Mapping[int, Mapping[str, TensorSpec]],
        ours: Origin,
        held: Mapping[int, int] | None = None,
        last: int | None = None,
        others: Others | None = None,
        in_place: bool = True,
    ) -> None:
        """
        Args:
            directories: Where each teacher group publishes, by group.
            expected: The `specification` of each teacher's model, by group.
            ours: The origin of the group that reads; what cannot teach it is refused.
            held: {group: step} of the weights that are here already: only newer ones are read.
            last: The run's last step, if it is known; later ones are refused.
            others: Says which tensors another architecture than `ours.model` has.
            in_place: Whether teachers can take over changes upon the weights that they have.
        """
        self.counters = PollerCounters()
        self._directories = dict(directories)
        self._assemblers = {
            group: Assembler(directory, group, expected[group], ours, others, in_place)
            for group, directory in directories.items()
        }
        steps = dict.fromkeys(self._directories, -1) | dict(held or {})
        self._trails = {group: Trail(step, last) for group, step in steps.items()}
        self._failures: dict[int, dict[str, Failure]] = {group: {} for group in self._directories}
        self._arrivals: dict[int, Arrival] = {}
        self._incomplete: dict[int, int] = {}
        self._wake = threading.Condition()
        self._look: int | None = None
        self._wanted = 0
        self._closing = False
        self._worker = Worker("hvcod-poll", self._run)

    @property
    def failures(self) -> dict[int, dict[str, Failure]]:
        """The reads that failed so far, by teacher group and cause (`PollerCounters`)."""
        return {group: dict(causes) for group, causes in self._failures.items()}

    def look(self, step: int) -> None:
        """Asks for fresher weights of every teacher, if possible of `step`; returns at once.

        This, `take` and `close` raise what the poller's thread died of, a mistake in the program.
        """
        self._worker.check()
        with self._wake:
            self._look = step
            self._wake.notify()

    def take(self) -> Arrival | None:
        """Returns the newest weights of one teacher that has fresher ones, or None; at once."""
        self._worker.check()
        with self._wake:
            for group in self._arrivals:
                return self._arrivals.pop(group)
            return None

    def reject(self, group: int, step: int) -> None:
        """Notes that a teacher's weights, which were taken, are useless; see `Trail.reject`."""
        self._trails[group].reject(step)

    def close(self, timeout: float = 10.0) -> bool:
        """Ends the thread; returns whether it ended within `timeout` seconds.

        Only a file system that hangs makes it late.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        return self._worker.join(timeout)

    def _run(self) -> None:
        pending: list[int] = []
        pause = _FIRST_PAUSE
        # Keeps groups from listing in step with each other. A generator of its own: Python's
        # global one belongs to the training, whose random numbers must not depend on files.
        jitter = random.Random()
        while True:
            timeout = pause * jitter.uniform(0.5, 1.5) if pending else None
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._look is not None, timeout)
                if self._closing:
                    return
                look, self._look = self._look, None
            if look is not None:
                self._wanted, pending, pause = look, list(self._directories), _FIRST_PAUSE
            else:
                pause = min(2 * pause, _LONGEST_PAUSE)
            pending = [group for group in pending if not self._refresh(group)]

    def _refresh(self, group: int) -> bool:
        """Lists the group's directory once; returns whether that gave weights as new as wanted."""
        directory = self._directories[group]
        self.counters.listings += 1
        try:
            published = list_published(directory)
        except OSError as error:
            self._count_failure(group, directory, error)
            return False
        steps = sorted({*published.whole, *published.changes})
        fresher, refused = self._trails[group].fresher(steps, self._wanted)
        for step, reason in refused.items():
            self._count_failure(group, checkpoint_path(directory, step), RefusedError(reason))
        loaded = any(self._load(group, step, published) for step in fresher)
        return loaded and self._trails[group].taken >= self._wanted

    def _load(self, group: int, step: int, published: Published) -> bool:
        assembler = self._assemblers[group]
        try:
            arrival = assembler.read(step, published)
        except IncompleteError as error:
            # Told once for each step: the directory is listed again and again.
            if step > self._incomplete.get(group, -1):
                self._incomplete[group] = step
                self._count_failure(group, assembler.at, error)
            return False
        except (OSError, HvcodError) as error:
            # Errors of the system may pass; but the content of a published file never changes.
            if isinstance(error, HvcodError) and step not in published.changes:
                self._trails[group].unusable(step)
            self._count_failure(group, assembler.at, error)
            return False
        self._trails[group].took(step)
        self.counters.loaded += 1
        self._hand_over(arrival)
        return True

    def _hand_over(self, arrival: Arrival) -> None:
        """Lays weights ready to be taken; changes together with those that nobody has taken yet."""
        with self._wake:
            waiting = self._arrivals.pop(arrival.group, None)
            self.counters.replaced += waiting is not None
        if waiting is not None and arrival.base is not None:
            arrival = arrival.upon(waiting)
        with self._wake:
            self._arrivals[arrival.group] = arrival

    def _count_failure(self, group: int, path: Path, error: OSError | HvcodError) -> None:
        cause = _cause(error)
        reason = reason_of(error)
        before = self._failures[group].get(cause)
        count = before.count + 1 if before else 1
        self._failures[group][cause] = Failure(count, f"{path}: {reason}")
        self.counters.failures[cause] += 1
        if before:
            return
        if cause == "ENOENT" and path == self._directories[group]:
            logger.info("group %d has not published anything yet", group)
            return
        logger.warning("nothing fresher from group %d: %s: %s (logged once)", group, path, reason)


def _cause(error: OSError | HvcodError) -> str:
    if isinstance(error, DamagedError):
        return "damaged"
    if isinstance(error, IncompleteError):
        return "incomplete"
    if isinstance(error, RefusedError):
        return "refused"
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "unknown")
    return "irregular"
