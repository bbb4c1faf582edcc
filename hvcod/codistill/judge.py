"""The judge of a group's teachers: it leaves out those that are of no use."""

import logging
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from hvcod.codistill.exchanges.base import Exchange
from hvcod.codistill.guard import Agreed, Guard
from hvcod.codistill.joint import CrossEntropy
from hvcod.codistill.losses import DistillationLoss, NamedLoss
from hvcod.codistill.predictions.sampled import AnyPrediction, Sampled
from hvcod.codistill.projected import Predicted, Projected, computed
from hvcod.codistill.rows import precision_of
from hvcod.codistill.scores import Score, Scores
from hvcod.codistill.teachers.base import Label
from hvcod.codistill.teachers.collection import Teachers
from hvcod.codistill.troubles import Troubles
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.spans import FORWARD, TEACHERS

log = logging.getLogger("hvcod.codistill")


class Losses(NamedTuple):
    """The losses of a batch, which are scalars.

    Attributes:
        total: Their sum, to differentiate.
        task: The task loss (phi of Algorithm 1).
        distill: The weighted distillation loss (psi); zero without a teacher.
    """

    total: Tensor
    task: Tensor
    distill: Tensor


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
        self._psi, self._guard, self.scores = psi, Guard(psi), Scores(limit)
        self.agreed, self.troubles = Agreed(teachers.keys), Troubles()

    def begin(self, group: Group) -> None:
        """Begins to agree, and tells the exchange what is left out already. Collective."""
        for key, step in self._teachers.dropped.items():
            self._exchange.reject(key, step)
        self.agreed.begin(group)

    def admitted(
        self,
        teachers: Mapping[int, int | None],
        answers: Mapping[int, AnyPrediction],
        student: Predicted,
        score: Score | None,
    ) -> dict[int, int | None]:
        """Returns those of some teachers, {key: step}, that may teach; measures new ones.

        If the student's logits are `Projected`, `losses` measures those that teach.

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
            if not isinstance(each, Sampled) and self._teachers[key].judged
        }
        trial = self.scores.on_trial({key: teachers[key] for key in logits})
        if isinstance(student, Projected):
            logits = {key: logits[key] for key in trial}
        if score is not None:
            self.scores.measure(score, student, logits, teachers)
        return {key: step for key, step in teachers.items() if key not in trial}

    def term(self, student: Tensor, answers: dict[int, AnyPrediction]) -> Tensor:
        """Returns the distillation loss, or zero where it is not finite; empties `answers`."""
        return self._guard.term(student, answers)

    def joined(self, logits: Predicted, phi: Score) -> Predicted:
        """Returns `Projected` logits if `losses` computes both of their losses in one pass."""
        psi = self._psi.rows if isinstance(self._psi, NamedLoss) else None
        known = isinstance(phi, CrossEntropy) and psi is not None
        joins = known and isinstance(logits, Projected) and logits.is_linear
        return logits if joins else computed(logits)

    def losses(
        self, student: Predicted, answers: dict[int, AnyPrediction], phi: Score, weight: float
    ) -> Losses:
        """Returns the task loss and the weighted distillation loss; empties `answers`.

        `student` is what `joined` returned.
        """
        if not (isinstance(student, Projected) and isinstance(phi, CrossEntropy)):
            return self._apart(computed(student), answers, phi, weight)
        steps = {
            key: self._teachers[key].step
            for key, each in answers.items()
            if self._teachers[key].judged and not isinstance(each, Sampled)
        }
        due = self.scores.due(steps)
        with FORWARD:
            found = self._guard.joint(student, answers, phi, weight, bool(due))
        measured = dict(zip(answers, found.teacher_losses, strict=True)) if due else {}
        self.scores.add({key: measured[key] for key in due}, found.task)
        return Losses(found.total, found.task, weight * found.psi)

    def _apart(
        self, student: Tensor, answers: dict[int, AnyPrediction], phi: Score, weight: float
    ) -> Losses:
        with FORWARD:
            task = phi(student)
        with TEACHERS:
            zero = student.new_zeros((), dtype=precision_of(student))
            term = weight * self.term(student, answers) if answers else zero
        return Losses(task + term, task, term)

    def state_dict(self) -> dict[str, Any]:
        """Returns the losses that were measured, and the faults that were found."""
        return {"scores": self.scores.state_dict(), "faults": self.agreed.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that has what `state_dict` returned; earlier versions' has not."""
        self.scores.load_state_dict(state.get("scores", self.scores.state_dict()))
        self.agreed.load_state_dict(state.get("faults", self.agreed.state_dict()))

    def compare(self, step: int, student: float, teachers: Mapping[int, float]) -> None:
        """Takes note of losses on validation data after so many steps of the student."""
        self.scores.validated(step, student)
        for key, loss in teachers.items():
            if not self._teachers[key].judged:
                continue
            if self.scores.is_news_then(key, self._teachers[key].step, loss):
                told = f"its loss is {loss:.4g} on validation data, this group's {student:.4g}"
                self._report("far worse", key, told)

    def teacher_losses(self) -> dict[Label, float]:
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
