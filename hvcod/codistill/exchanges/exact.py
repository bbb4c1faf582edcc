"""Teachers of an exactly known age, so that a run can be repeated bit for bit.

With ``--staleness exact`` a group that has done k steps, a multiple of the interval I, learns from
its teachers' checkpoint of step k - I until step k + I. It waits for it if need be.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hvcod.codistill.exchanges.transfer import Update, broadcast_update
from hvcod.config import CodistillOptions
from hvcod.errors import GroupFailedError, HvcodError
from hvcod.exchange.poll import Arrival, Failure, fetch
from hvcod.groups.agreement import any_rank
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_json
from hvcod.tensorfile.format import TensorSpec

log = logging.getLogger("hvcod.codistill")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5
_TOLD_AFTER = 10.0


class ExactTeachers:
    """Waits for the very checkpoints that Algorithm 1 with a fixed delay would use."""

    def __init__(
        self,
        group: Group,
        options: CodistillOptions,
        directories: Mapping[int, Path],
        expected: Mapping[str, TensorSpec],
        run_id: str,
        stop: Callable[[], bool],
    ) -> None:
        """
        Args:
            group: This rank's group.
            options: Interval, burn-in and the longest wait.
            directories: Where each teacher group publishes, by group.
            expected: The `specification` of the local model.
            run_id: Checkpoints of any other run are refused.
            stop: Whether this rank has been told to stop: ends a wait, without its teacher.
        """
        self._group, self._options, self._directories = group, options, dict(directories)
        self._expected, self._run_id, self._stop = expected, run_id, stop
        self._held: dict[int, int] = {}

    def step(self, done: int) -> list[Update]:
        """The weights to switch to after so many steps. Collective; waits for them.

        Raises:
            GroupFailedError: They did not come in time, or are not what this run can use.
        """
        interval = self._options.exchange_interval
        begin = done // interval * interval
        wanted = begin - interval
        if wanted < interval or begin + interval <= self._options.burn_in:
            return []
        updates = []
        for teacher in self._directories:
            if self._held.get(teacher) != wanted and (update := self._wait(teacher, wanted)):
                self._held[teacher] = wanted
                updates.append(update)
        return updates

    def hold(self, steps: Mapping[int, int]) -> None:
        """Tells which teachers' steps are there already."""
        self._held.update(steps)

    @property
    def failures(self) -> dict[int, dict[str, Failure]]:
        """Nothing: what cannot be read ends a run that must be exact."""
        return {}

    def close(self) -> None:
        """Nothing is under way."""

    def _wait(self, teacher: int, step: int) -> Update | None:
        begun, pause, told = time.monotonic(), _FIRST_PAUSE, False
        while True:
            arrival, problem = self._fetch(teacher, step)
            waited = time.monotonic() - begun
            if self._group.is_root and waited > self._options.teacher_wait:
                problem = problem or self._in_vain(teacher, step)
            found, failed, stop = any_rank(
                self._group.comm, arrival is not None, bool(problem), self._stop()
            )
            if found:
                return broadcast_update(self._group.comm, arrival)
            if failed:
                raise GroupFailedError(broadcast_json(self._group.comm, problem), save=True)
            if stop:
                return None
            if waited > _TOLD_AFTER and not told:
                log.info("waiting for step %d of group %d (--staleness exact)", step, teacher)
                told = True
            # Asleep, not in a collective: the teacher may need this core.
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _fetch(self, teacher: int, step: int) -> tuple[Arrival | None, str]:
        """What the group root finds, and what is wrong with it."""
        if not self._group.is_root:
            return None, ""
        directory = self._directories[teacher]
        try:
            return fetch(directory, step, self._expected, self._run_id, teacher), ""
        except HvcodError as error:
            return None, (
                f"{error}; --staleness exact needs it: delete that file and the states of group "
                f"{teacher} from that step on, and start that group again"
            )

    def _in_vain(self, teacher: int, step: int) -> str:
        return (
            f"group {self._group.index} waited {self._options.teacher_wait:g} s for step {step} of "
            f"group {teacher} in {self._directories[teacher]}, as --staleness exact asks: is that "
            "group training? start it, wait longer (--teacher-wait), or use --staleness freshest"
        )
