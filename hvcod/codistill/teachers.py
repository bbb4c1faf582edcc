"""Teachers: frozen stale copies of other groups' models (paper, section 2.1)."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Predict = Callable[[nn.Module, Tensor, Any], tuple[Tensor, Any]]
"""(model, inputs, hidden state) -> (logits, next hidden state)."""


@dataclass
class Teacher:
    """One teacher: its model, the step of its weights and the hidden state it carries.

    The hidden state outlives a refresh of the weights, as the student's outlives an update.
    """

    model: nn.Module
    step: int
    state: Any = None


class Teachers:
    """The teachers of one rank, by group; they come into being with their first weights."""

    def __init__(self, student: nn.Module, predict: Predict) -> None:
        self._student, self._predict = student, predict
        self._teachers: dict[int, Teacher] = {}

    def __len__(self) -> int:
        return len(self._teachers)

    @property
    def steps(self) -> dict[int, int]:
        """{group: step} of the weights in use."""
        return {group: teacher.step for group, teacher in sorted(self._teachers.items())}

    def load(self, group: int, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Puts fresher weights into the teacher of a group; half precision widens here."""
        if group not in self._teachers:
            model = copy.deepcopy(self._student).eval().requires_grad_(False)
            self._teachers[group] = Teacher(model, step)
        teacher = self._teachers[group]
        with torch.no_grad():
            for name, target in teacher.model.state_dict().items():
                target.copy_(tensors[name])
        teacher.step = step

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> list[Tensor]:
        """The logits of all teachers on the student's inputs; advances their hidden states."""
        logits = []
        for teacher in self._teachers.values():
            answer, teacher.state = self._predict(teacher.model, inputs, teacher.state)
            logits.append(answer)
        return logits
