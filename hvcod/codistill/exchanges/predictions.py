"""The exchange ``predictions``: teacher ranks compute what a group's teachers predict.

They read the batches of the trainers ahead of them, so that the predictions for a batch are there
when it is trained on (paper, footnote 1). Trainers publish weights as with ``files``; the teacher
ranks read those of the other groups.

All trainers of a group use the same predictions, so that the term has the same weight on each: a
step goes without those of a teacher that have not reached every trainer one step earlier. Nobody
waits for them, unless with ``--staleness exact``.
"""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hvcod.codistill.exchanges.alone import Alone
from hvcod.codistill.exchanges.base import Exchange, Offer, Update
from hvcod.codistill.exchanges.files import files
from hvcod.codistill.handover.mailbox import Mailbox
from hvcod.codistill.handover.messages import PAUSE, Start, Verdict
from hvcod.codistill.handover.pairs import AHEAD, share_out
from hvcod.codistill.handover.received import ReceivedTeacher
from hvcod.codistill.teachers.base import Teacher
from hvcod.config import CodistillOptions
from hvcod.errors import GroupFailedError, UsageError
from hvcod.exchange.poll import Failure
from hvcod.groups.agreement import Agreement, any_rank
from hvcod.groups.communicator import of_mpi
from hvcod.groups.split import Group
from hvcod.tensorfile.origin import Origin

log = logging.getLogger("hvcod.codistill")

_GRACE = 2 * AHEAD
"""Steps until teacher ranks are ahead, which do not count as missed."""

_CALM = 50
"""Steps with all predictions after which a spell of missing ones is over."""

MISSED = "steps without predictions"

PREDICTED = ("here", "not finite")
"""States of an answer (`Header`) that a trainer learns from, or that tells on a teacher."""


class Predictions(Exchange):
    """Takes predictions from teacher ranks in place of weights; one object on each trainer."""

    def __init__(
        self, group: Group, run_dir: Path, options: CodistillOptions, *others: Any
    ) -> None:
        """Takes the arguments of `Exchange`.

        Raises:
            UsageError: The group has no teacher ranks.
        """
        super().__init__(group, run_dir, options, *others)
        if not group.teacher_ranks:
            raise UsageError(
                "--exchange predictions needs ranks that only teach: hvcod train --teacher-ranks N"
            )
        make = files if group.count > 1 else Alone
        self._published: Exchange = make(group, run_dir, options, [], self._stop)
        self._received: dict[int, ReceivedTeacher] = {}
        self._exact = options.staleness == "exact"
        self._told: dict[int, Verdict] = {}
        self._followed, self._first, self._missed = False, 0, 0
        self._spell, self._calm, self._reason = False, 0, ""
        self._silent: list[int] = []

    def teachers(self, *_: Any) -> dict[int, Teacher]:
        """Returns {group: teacher}, none of which is a model."""
        groups = [spec.group for spec in self._teachers]
        return {group: ReceivedTeacher(f"group {group}", group) for group in groups}

    def adopt(self, teachers: Mapping[int, Teacher]) -> None:
        """Also takes up the finished teachers whose models are at the teacher ranks.

        Raises:
            UsageError: There are more teacher ranks than have something to do.
        """
        for key, teacher in sorted(teachers.items()):
            if isinstance(teacher, ReceivedTeacher):
                self._received[key], teacher.key = teacher, key
        self._shares = share_out(
            self._group.trainers, list(self._received), self._group.teacher_ranks
        )

    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Starts publishing, and receives what comes from the teacher ranks."""
        self._published.steps = self.steps
        self._published.begin(origin, {})
        group = self._group
        servers = {
            pair.key: group.trainers + number
            for number, pairs in enumerate(self._shares)
            for pair in pairs
            if pair.trainer == group.rank
        }
        assert group.whole is not None
        self._mailbox = Mailbox(of_mpi(group.whole), servers)
        self._agreement = Agreement(group.comm, [1] * len(self._received))

    def follow(self, step: int, position: Mapping[str, Tensor]) -> None:
        """Tells the teacher ranks where this trainer's data begin."""
        self._followed, self._first = True, step
        hidden = {key: teacher.state for key, teacher in self._received.items()}
        self._told = self._verdicts()
        self._mailbox.begin(Start(step, position, hidden, tuple(self._told.values())))
        self._receive(step)

    def prepare(self, offer: Offer) -> None:
        """Notes the weights as the exchange ``files`` does."""
        self._published.prepare(offer)

    def offer(self, offer: Offer) -> None:
        """Publishes the weights as the exchange ``files`` does."""
        self._published.offer(offer)

    def take(self, step: int) -> list[Update]:
        """Gives the teachers the answers for the next step; returns updates without weights.

        Raises:
            GroupFailedError: With exact staleness: the answers did not come.
        """
        self._published.take(step)
        if not self._followed:
            return []
        before = {key: teacher.step for key, teacher in self._received.items()}
        self._receive(step)
        after = {key: teacher.step for key, teacher in self._received.items()}
        return [
            Update(key, now, {})
            for key, now in after.items()
            if now is not None and now != before[key]
        ]

    def figures(self) -> Mapping[str, object]:
        """Returns how many batches the teacher ranks are ahead, and the steps they missed."""
        return {"teacher_ranks": {"ahead": self._mailbox.ahead(), "missed": self._missed}}

    def summary(self) -> Mapping[str, object]:
        """Returns the teacher ranks that were silent at the end, by their rank in the group."""
        return {"silent_teacher_ranks": self._silent, "missed_predictions": self._missed}

    def counters(self) -> Mapping[str, int]:
        """Returns the bytes that were published, as the exchange ``files`` does."""
        return self._published.counters()

    def problems(self) -> dict[str, Failure]:
        """Returns what failed on the teacher ranks and here; on the group root."""
        if not self._group.is_root:
            return {}
        problems = self._published.problems() | self._mailbox.problems
        if self._missed:
            problems[MISSED] = Failure(self._missed, self._reason)
        if self._mailbox.failed:
            problems["teacher ranks failed"] = Failure(1, self._mailbox.failed)
        return problems

    def source(self, group: int, step: int) -> str:
        """Returns the path of the file."""
        return self._published.source(group, step)

    def close(self, last: Offer | None) -> None:
        """Ends the work of the teacher ranks, then publishes the final weights."""
        self._agreement.close()
        self._silent = self._mailbox.close()
        if self._silent:
            log.error("no answer from teacher ranks %s: they are left behind", self._silent)
        self._published.close(last)

    def _receive(self, step: int) -> None:
        self._tell(step)
        coming = step + 1
        wanted = self._options.burn_in < coming <= (self.steps or math.inf)
        if self._exact:
            everywhere = self._arrived(coming) if wanted else set()
        else:
            everywhere = self._agreed(coming)
        for key, teacher in self._received.items():
            teacher.receive(coming, self._mailbox.get(coming, key) if key in everywhere else None)
        if wanted and not self._exact:
            self._count(coming, set(self._received) - everywhere)

    def _verdicts(self) -> dict[int, Verdict]:
        given = {key: teacher.verdict for key, teacher in self._received.items()}
        return {key: verdict for key, verdict in given.items() if verdict is not None}

    def _tell(self, step: int) -> None:
        verdicts = self._verdicts()
        news = [verdict for key, verdict in verdicts.items() if verdict != self._told.get(key)]
        self._told = verdicts
        self._mailbox.tell(step, tuple(news))

    def _is_here(self, step: int, key: int) -> bool:
        answer = self._mailbox.get(step, key)
        return answer is not None and answer.header.state in PREDICTED

    def _agreed(self, coming: int) -> set[int]:
        """Returns the teachers whose predictions had reached all trainers a step ago."""
        missing = self._agreement.exchange(
            [not self._is_here(coming + 1, key) for key in self._received]
        )
        return {key for key, out in zip(self._received, missing, strict=True) if not out}

    def _arrived(self, coming: int) -> set[int]:
        """Waits until all trainers have all answers; returns the teachers that have predicted.

        They are the same on all trainers. None, if the group was told to stop.
        """
        end = time.monotonic() + self._options.teacher_wait
        while True:
            waits = any(self._mailbox.get(coming, key) is None for key in self._received)
            in_vain = self._in_vain(coming) if time.monotonic() > end else ""
            problem = self._mailbox.failed or in_vain
            waiting, failed, stop = any_rank(self._group.comm, waits, bool(problem), self._stop())
            if not waiting:
                return {key for key in self._received if self._is_here(coming, key)}
            if failed:
                reasons = self._group.comm.allgather(problem)
                raise GroupFailedError(next(filter(None, reasons)), save=True)
            if stop:
                return set()
            time.sleep(PAUSE)

    def _in_vain(self, step: int) -> str:
        return (
            f"group {self._group.index} waited {self._options.teacher_wait:g} s for its teacher "
            f"ranks to predict the batch of step {step}, as --staleness exact asks: do they run? "
            "Wait longer (--teacher-wait), or use --staleness freshest"
        )

    def _count(self, step: int, missing: set[int]) -> None:
        """Counts a step without predictions that could have been there; reports the first."""
        answers = {key: self._mailbox.get(step, key) for key in missing}
        due = [key for key, one in answers.items() if one is None or one.header.state != "absent"]
        if not due or step <= max(self._first, self._options.burn_in) + _GRACE:
            self._calm += 1
            if self._spell and self._calm == _CALM:
                self._spell = False
                log.info("step %d: predictions come in time again", step)
            return
        self._missed += 1
        names = ", ".join(self._received[key].name for key in due)
        self._reason = f"step {step}: those of {names} did not reach all trainers in time"
        if not self._spell:
            log.warning("%s; the group trains on without them", self._reason)
        self._spell, self._calm = True, 0
