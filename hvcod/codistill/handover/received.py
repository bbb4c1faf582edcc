"""Teachers whose predictions are computed elsewhere, by the teacher ranks of the group."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hvcod.codistill.handover.mailbox import Answer
from hvcod.codistill.handover.messages import Verdict
from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import Prediction
from hvcod.codistill.projected import Projected
from hvcod.codistill.teachers.base import Label, Question, Teacher
from hvcod.codistill.teachers.model import ModelTeacher

log = logging.getLogger("hvcod.codistill")


class ReceivedTeacher(Teacher):
    """Answers a batch with the predictions that have come for that very batch; holds no model.

    Attributes:
        key: Its key, which its exchange sets.
        verdict: The last one about it, if any: its answers count again from `Verdict.effect` on,
            with other weights.
    """

    def __init__(self, name: str, label: Label, source: str = "", is_fixed: bool = False) -> None:
        """A fixed one needs no weights that an exchange brings."""
        super().__init__(name, label, source)
        self.key = 0
        self._here, self._step = is_fixed, 0
        self._weights: int | None = None
        self._logits: Tensor | None = None
        self._answer: Answer | None = None
        self.verdict: Verdict | None = None

    @property
    def here(self) -> bool:
        """True if it is fixed, or once it has answered."""
        return self._here

    @property
    def step(self) -> int | None:
        """The step of the weights that the last answer was made with."""
        return self._weights

    @property
    def general(self) -> bool:
        """False: it answers only what the trainers train on."""
        return False

    @property
    def usable(self) -> bool:
        """True if it has an answer for the coming step, of weights that are of use."""
        return self._answer is not None and not self.dropped

    def receive(self, step: int, answer: Answer | None) -> None:
        """Takes the answer for the coming step; None if there is none in time."""
        self._step, self._answer = step, answer
        if answer is not None:
            self._here, self._weights = True, answer.header.weights
        verdict = self.verdict
        dropped = verdict is not None and (
            step < verdict.effect or self._weights == verdict.weights
        )
        if self.dropped and not dropped:
            log.info("%s teaches again, with its weights of step %s", self.name, self._weights)
        self.dropped = dropped

    def answer(self, question: Question) -> Prediction:
        """Returns what has come for a batch or a part of it, and keeps the state that came along.

        That is the state of all rows, even for a part.
        """
        prediction, self.state = self.predict(question, self.state)
        return prediction

    def predict(self, question: Question, state: Any) -> tuple[Prediction, Any]:
        """Returns what has come for the batch; NaN if the teacher computed what is not finite."""
        assert self._answer is not None
        header, like = self._answer.header, question.like
        if self._answer.body is None:
            return question.alike(torch.tensor(torch.nan)), header.hidden
        packing = Packing.from_dict(header.packing)
        rows = self._answer.body.view(packing.row)
        rows = np.split(rows, question.part.count)[question.part.index]
        if packing.kind != "whole":
            return packing.unpack(rows).to(like.device).reshape(like.shape), header.hidden
        halves = torch.from_numpy(rows["logits"]).reshape(like.shape)
        if isinstance(like, Projected):  # widened a few at a time, where they are used
            return halves.to(like.device, non_blocking=True), header.hidden
        # In the same memory each time: fresh memory takes longer than the copy.
        if self._logits is None or self._logits.shape != like.shape:
            self._logits = torch.empty(like.shape, device=like.device)
        self._logits.copy_(halves)
        return self._logits, header.hidden

    def drop(self) -> None:
        """Leaves it out until there are answers of other weights."""
        super().drop()
        # Called at the end of the step that the last answer was for.
        self.verdict = Verdict(self._step, self.key, self._weights)

    def rewind(self) -> None:
        """Does nothing: a teacher rank keeps no hidden state of a batch that was not finite."""

    def load(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        model: str = "",
        base: int | None = None,
    ) -> bool:
        """Does nothing: the weights are at the teacher ranks."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Returns the step of its weights and the last verdict."""
        verdict = None if self.verdict is None else [self.verdict.step, self.verdict.weights]
        return {"step": self._weights, "dropped": self.dropped, "verdict": verdict}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self._here, self._weights, self.dropped = True, state["step"], state["dropped"]
        if state["verdict"] is not None:
            step, weights = state["verdict"]
            self.verdict = Verdict(step, self.key, weights)


def stand_ins(teachers: Sequence[Teacher]) -> list[Teacher]:
    """Returns what trainers hold of finished teachers whose models are at the teacher ranks."""
    return [
        ReceivedTeacher(one.name, one.label, one.source, is_fixed=True)
        if isinstance(one, ModelTeacher)
        else one
        for one in teachers
    ]
