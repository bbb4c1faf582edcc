"""The task losses of teachers beside the student's: now and then, and at little cost.

A teacher's loss is measured on the first batches after each switch to fresher weights, on the same
batches as the student's. A teacher that is far worse is reported, and with ``--teacher-limit`` it
is left out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hvcod.codistill.projected import Predicted
from hvcod.groups.communicator import add_up
from hvcod.groups.split import Group

BATCHES = 3
"""Batches of each rank on which the loss of fresher weights is measured."""

FAR, FAR_THEN = 1.5, 1.1
"""A teacher is far worse if its loss is larger by the first factor than the student's is, or by the
second factor than the student's was when it was as old as the teacher's weights are."""

FAR_NATS = 0.1
"""The least difference that is worth a report: below it, both may be good."""

_PAST = 100
"""Validations of which the student's loss is remembered."""

Score = Callable[[Any], Tensor]
"""Returns the task loss, a scalar, of anybody's logits on the batch of this step."""


@dataclass
class Record:
    """The losses of one teacher's weights and of the student on the same batches.

    Attributes:
        step: Of the weights; None: they are fixed.
        batches: On how many batches of each rank they were measured.
        teacher: Mean loss of the teacher over these batches and all ranks.
        student: Mean loss of the student.
        told: Whether it was reported that the teacher is far worse.
    """

    step: int | None
    batches: int = 0
    teacher: float = 0.0
    student: float = 0.0
    told: bool = False


class Scores:
    """Measures the losses of a group's teachers; all ranks come to the same figures.

    Attributes:
        limit: Weights whose loss is more than so many times the student's must not teach; None:
            all may.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self._records: dict[int, Record] = {}
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}
        self._past: list[tuple[int, float]] = []

    def losses(self) -> dict[int, float]:
        """Returns {key: mean loss} of the weights that were measured last."""
        return {key: each.teacher for key, each in self._records.items() if each.batches}

    def on_trial(self, steps: Mapping[int, int | None]) -> set[int]:
        """Returns the keys of those that must not teach yet, as they were not measured so far."""
        if self.limit is None:
            return set()
        return {key for key, step in steps.items() if not self._record(key, step).batches}

    @torch.no_grad()
    def measure(
        self,
        score: Score,
        student: Predicted,
        teachers: Mapping[int, Predicted],
        steps: Mapping[int, int | None],
    ) -> None:
        """Adds the losses of a batch, if they are due.

        Args:
            score: The task loss of logits on the batch.
            student: The student's logits.
            teachers: Those of its teachers, by key.
            steps: {key: step} of the teachers' weights; None: they are fixed.
        """
        due = self.due({key: steps[key] for key in teachers})
        if due:
            mine = score(student.detach())
            self.add({key: score(teachers[key]) for key in due}, mine)

    def due(self, steps: Mapping[int, int | None]) -> list[int]:
        """Returns the keys of teachers whose losses on a batch are to be added, {key: step}."""
        return [key for key, step in steps.items() if self._record(key, step).batches < BATCHES]

    def add(self, losses: Mapping[int, Tensor], student: Tensor) -> None:
        """Adds the losses on a batch of some teachers, by key, and the student's."""
        for key, loss in losses.items():
            both = torch.stack([loss, student]).detach().double()
            self._sums[key] = self._sums.get(key, 0.0) + both
            self._counts[key] = self._counts.get(key, 0) + 1

    def settle(self, group: Group) -> list[int]:
        """Averages what was measured in this step over the ranks; returns whose.

        Collective in a step in which something was measured, which is the same on all ranks. Ranks
        that go at paces of their own also judge by their own batches.
        """
        keys = sorted(self._sums)
        if not keys:
            return []
        totals = np.array([[*self._sums[each].tolist(), self._counts[each]] for each in keys])
        if group.pace is None:
            add_up(group.comm, totals)
        for key, (teacher, student, count) in zip(keys, totals.tolist(), strict=True):
            record = self._records[key]
            record.batches += 1
            record.teacher += (teacher / count - record.teacher) / record.batches
            record.student += (student / count - record.student) / record.batches
        self._sums.clear()
        self._counts.clear()
        return keys

    def is_over_limit(self, key: int) -> bool:
        """Returns whether a teacher that was measured is worse than the limit allows."""
        record = self._records[key]
        return self.limit is not None and _is_worse(record.teacher, record.student, self.limit)

    def is_news(self, key: int, validation_loss: float | None) -> bool:
        """Returns whether a teacher proved to be far worse, after all its batches; only once.

        A student that has seen its batches before has a lower loss there than on new ones, which
        its validation loss shows.
        """
        record = self._records[key]
        reference = max(record.student, validation_loss or record.student)
        return record.batches == BATCHES and self._tell(record, record.teacher, reference)

    def validated(self, step: int, student: float) -> None:
        """Remembers the student's loss after so many steps, on the data of `is_news_then`."""
        self._past = [*self._past, (step, student)][-_PAST:]

    def is_news_then(self, key: int, step: int | None, teacher: float) -> bool:
        """Returns whether weights proved to be far worse on validation data; only once.

        A teacher may be behind, and must not be blamed for that: the student was worse, too, when
        it had made as many steps. And a bad teacher makes its student worse. A fixed one is
        compared with the student now.
        """
        record, (_, now) = self._record(key, step), self._past[-1]
        then = [loss for earlier, loss in self._past if step is not None and earlier <= step]
        if then and self._tell(record, teacher, then[-1], FAR_THEN):
            return True
        return self._tell(record, teacher, now)

    def described(self, key: int) -> str:
        """Returns both losses of a teacher that was measured, in words."""
        record = self._records[key]
        return f"its loss is {record.teacher:.4g}, this group's {record.student:.4g}"

    def state_dict(self) -> dict[str, Any]:
        """Returns the records by key, and the student's losses."""
        records = {key: asdict(record) for key, record in sorted(self._records.items())}
        return {"records": records, "past": self._past}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self._records = {key: Record(**each) for key, each in state["records"].items()}
        self._past = state["past"]

    def _record(self, key: int, step: int | None) -> Record:
        record = self._records.get(key)
        if record is None or record.step != step:
            record = self._records[key] = Record(step)
        return record

    def _tell(self, record: Record, teacher: float, student: float, factor: float = FAR) -> bool:
        far = _is_worse(teacher, student, factor) and not teacher - student < FAR_NATS
        news = far and not record.told
        record.told = record.told or far
        return news


def _is_worse(teacher: float, student: float, factor: float) -> bool:
    """Returns whether a loss is more than `factor` times another one, or is not even finite."""
    worse = not teacher - student <= (factor - 1) * abs(student)
    return worse and math.isfinite(student)
