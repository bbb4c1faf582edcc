"""Teachers of an exactly known age, so that a run can be repeated bit for bit.

With ``--staleness exact`` a group that has done k steps, a multiple of the interval I, learns from
its teachers' checkpoint of step k - I until step k + I. It waits for that checkpoint if need be. A
teacher whose weights turned out to be useless is waited for, too; but if it does not come, the
group goes on without it.
"""

import logging
import time
from collections.abc import Mapping

from hvcod.codistill.exchanges.base import Offer, Update
from hvcod.codistill.exchanges.publishing import PublishingExchange
from hvcod.codistill.exchanges.transfer import broadcast_update
from hvcod.codistill.teachers.model import TeacherSpec
from hvcod.codistill.teachers.precision import takes_changes
from hvcod.config import CodistillOptions
from hvcod.errors import GroupFailedError, HvcodError
from hvcod.exchange.assemble import Arrival, Assembler
from hvcod.exchange.poll import Failure
from hvcod.groups.agreement import any_rank
from hvcod.tensorfile.errors import DamagedError
from hvcod.tensorfile.origin import Origin

log = logging.getLogger("hvcod.codistill")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5
_LOGGED_AFTER = 10.0


def due(step: int, options: CodistillOptions) -> int | None:
    """Returns the step whose weights teach a group that has done `step` steps; None: none do."""
    interval = options.exchange_interval
    begin = step // interval * interval
    wanted = begin - interval
    return None if wanted < interval or begin + interval <= options.burn_in else wanted


class ExactTeachers(PublishingExchange):
    """Waits for the very checkpoints that Algorithm 1 with a fixed delay would use."""

    # A group that goes on from an old state asks for teachers of long ago.
    _keeps_all = True

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Also notes the group's own origin and the teachers' steps."""
        super().begin(origin, held)
        self._held = dict(held)
        others, in_place = self._other_tensors, takes_changes(self._options.teacher_precision)
        self._assemblers = {
            spec.group: Assembler(
                self._directory(spec.group), spec.group, spec.tensors, origin, others, in_place
            )
            for spec in self._teachers
        }
        self._lost: dict[int, str] = {}

    def offer(self, offer: Offer) -> None:
        """Publishes at each interval and waits until the checkpoint is on disk.

        It must be there before any later state is: a group that resumed from such a state would
        never publish it again.
        """
        super().offer(offer)
        if offer.origin.step % self._options.exchange_interval:
            return
        problem = ""
        if self._publisher and not self._publisher.flush(self._options.teacher_wait):
            problem = self._publisher.counters.last_error or "the file system does not take it"
        if problem := self._group.comm.bcast(problem):
            raise GroupFailedError(
                f"step {offer.origin.step} could not be published, which --staleness exact depends "
                f"on: {problem}"
            )

    def take(self, step: int) -> list[Update]:
        """Returns the weights of exactly the step that is due; waits for them.

        Raises:
            GroupFailedError: They did not come in time, or cannot be used in this run.
        """
        wanted = due(step, self._options)
        if wanted is None:
            return []
        coming = [spec for spec in self._teachers if spec.group not in self._lost]
        missing = [spec for spec in coming if self._held.get(spec.group) != wanted]
        updates = [update for spec in missing if (update := self._wait(spec, wanted))]
        self._held |= {update.group: wanted for update in updates}
        for update in updates:
            self._rejected.pop(update.group, None)
        return updates

    def problems(self) -> dict[str, Failure]:
        """Returns the teachers that are not waited for any more, and failed publications."""
        lost = self._lost if self._group.polls else {}
        return {
            f"group {group}: given up": Failure(1, reason) for group, reason in lost.items()
        } | super().problems()

    def close(self, last: Offer | None) -> None:
        """Ends publishing; final weights between two intervals are never a teacher."""
        at_interval = last and last.origin.step % self._options.exchange_interval == 0
        super().close(last if at_interval else None)

    def _wait(self, teacher: TeacherSpec, step: int) -> Update | None:
        begun, pause, logged = time.monotonic(), _FIRST_PAUSE, False
        while True:
            arrival, problem = self._fetch(teacher, step)
            waited = time.monotonic() - begun
            if self._group.polls and waited > self._options.teacher_wait:
                problem = problem or self._in_vain(teacher.group, step)
            arrived, failed, stop = any_rank(
                self._group.comm, arrival is not None, bool(problem), self._stop()
            )
            if arrived:
                return broadcast_update(self._group.comm, arrival)
            if failed:
                self._end(teacher.group, self._group.comm.bcast(problem))
                return None
            if stop:
                return None
            if waited > _LOGGED_AFTER and not logged:
                log.info("waiting for step %d of group %d (--staleness exact)", step, teacher.group)
                logged = True
            # Asleep, not in a collective: the teacher may need this core.
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _end(self, teacher: int, problem: str) -> None:
        """Ends the wait for a teacher in vain: this group fails, unless the teacher had been
        rejected before."""
        if teacher not in self._rejected:
            raise GroupFailedError(problem, save=True)
        self._lost[teacher] = problem
        log.warning("%s; its former weights were useless: going on without that group", problem)

    def _fetch(self, teacher: TeacherSpec, step: int) -> tuple[Arrival | None, str]:
        """Returns the teacher's checkpoint and what is wrong with it; on the rank that polls."""
        if not self._group.polls:
            return None, ""
        try:
            return self._assemblers[teacher.group].fetch(step), ""
        except DamagedError as error:
            return None, (
                f"{error}; --staleness exact needs it: delete that file and the states of group "
                f"{teacher.group} from that step on, and start that group again"
            )
        except HvcodError as error:
            return None, (
                f"{error}; --staleness exact needs it: once that is mended, the same command goes "
                "on from the saved state"
            )

    def _in_vain(self, teacher: int, step: int) -> str:
        return (
            f"group {self._group.index} waited {self._options.teacher_wait:g} s for step {step} of "
            f"group {teacher} in {self._directory(teacher)}, as --staleness exact asks: is that "
            "group training? start it, wait longer (--teacher-wait), or use --staleness freshest"
        )
