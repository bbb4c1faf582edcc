"""The judge of a group's teachers: it leaves out those that are of no use."""

import logging
import math
from collections.abc import Mapping

from torch import Tensor

from hvcod.codistill.exchanges.base import Exchange
from hvcod.codistill.guard import Agreed, Guard
from hvcod.codistill.losses import DistillationLoss
from hvcod.codistill.predictions.sampled import Prediction
from hvcod.codistill.scores import Score, Scores
from hvcod.codistill.teachers.base import Label
from hvcod.codistill.teachers.collection import Teachers
from hvcod.codistill.troubles import Troubles
from hvcod.errors import HvcodError
from hvcod.groups.split import Group

log = logging.getLogger("hvcod.codistill")


class Judge:
    """Measures teachers by what they predict; all ranks of a group come to the same judgement.

    Attributes:
        scores: Their losses beside the student's.
        agreed: The faults that any rank of the group has found.
        troubles: The reports about them.
    """

    def __init__(
        self, teachers: Teachers, exchange: Exchange, psi: DistillationLoss, limit: float | None
    ) -> None:
        """`limit`: a teacher whose loss is more than so many times the student's is left out."""
        self._teachers, self._exchange = teachers, exchange
        self._guard, self.scores = Guard(psi), Scores(limit)
        self.agreed, self.troubles = Agreed(teachers.keys), Troubles()

    def begin(self, group: Group) -> None:
        """Begins to agree, and tells the exchange what is left out already. Collective."""
        for key, step in self._teachers.dropped.items():
            self._exchange.reject(key, step)
        self.agreed.begin(group)

    def admitted(
        self,
        teachers: Mapping[int, int | None],
        answers: Mapping[int, Prediction],
        student: Tensor,
        score: Score | None,
    ) -> dict[int, int | None]:
        """Returns those of some teachers, {key: step}, that may teach; measures new ones.

        Raises:
            HvcodError: There is a limit, but nothing to measure them by.
        """
        if self.scores.limit is not None and score is None:
            raise HvcodError(
                "teacher_limit needs the task loss: loss(..., score=lambda logits: ...)"
            )
        # Of a sample of a few classes there is no task loss.
        logits = {
            key: each
            for key, each in answers.items()
            if isinstance(each, Tensor) and self._teachers[key].judged
        }
        trial = self.scores.on_trial({key: teachers[key] for key in logits})
        if score is not None:
            self.scores.measure(score, student, logits, teachers)
        return {key: step for key, step in teachers.items() if key not in trial}

    def term(self, student: Tensor, answers: dict[int, Prediction]) -> Tensor:
        """Returns the distillation loss, or zero where it is not finite; empties `answers`."""
        return self._guard.term(student, answers)

    def compare(self, step: int, student: float, teachers: Mapping[int, float]) -> None:
        """Takes note of losses on validation data after so many steps of the student."""
        self.scores.validated(step, student)
        for key, loss in teachers.items():
            if not self._teachers[key].judged:
                continue
            if self.scores.is_news_then(key, self._teachers[key].step, loss):
                told = f"its loss is {loss:.4g} on validation data, this group's {student:.4g}"
                self._report("far worse", key, told)

    def losses(self) -> dict[Label, float]:
        """Returns {label: mean task loss} of the teachers, as measured last."""
        return {self._teachers[key].label: loss for key, loss in self.scores.losses().items()}

    def settle(self, step: int, group: Group, validation_loss: float | None) -> None:
        """Leaves out the teachers that were of no use in a step. Collective.

        All ranks do so at the same step.
        """
        verdict = self._guard.verdict()
        self._teachers.rewind(verdict.excused)
        faults = self.agreed.exchange(verdict.faults, self._teachers.usable)
        for key, fault in faults.items():
            self._drop("not finite", key, f"in step {step - 1} {fault}")
        for key in self.scores.settle(group):
            if key in faults:
                continue
            if self.scores.is_over_limit(key):
                finite = math.isfinite(self.scores.losses()[key])
                kind = "beyond --teacher-limit" if finite else "not finite"
                self._drop(kind, key, self.scores.described(key))
            elif self.scores.is_news(key, validation_loss):
                self._report("far worse", key, self.scores.described(key))

    def _drop(self, what: str, key: int, reason: str) -> None:
        step = self._teachers[key].step
        until = "" if step is None else " until fresher weights come"
        self._report(what, key, f"{reason}; left out{until}")
        self._teachers[key].drop()
        if step is not None:
            self._exchange.reject(key, step)

    def _report(self, what: str, key: int, reason: str) -> None:
        teacher = self._teachers[key]
        source, shown = teacher.source, teacher.name
        if teacher.step is not None:
            source = source or self._exchange.source(key, teacher.step)
            shown = f"teacher of {teacher.name}, step {teacher.step}"
        self.troubles.add(f"{teacher.name}: {what}", f"{source}: {reason}")
        log.warning("%s (%s): %s", shown, source, reason)
