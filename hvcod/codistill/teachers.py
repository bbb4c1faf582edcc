"""Teachers: frozen stale copies of other groups' models (paper, section 2.1)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hvcod.codistill.outputs import Logits, logits_of
from hvcod.codistill.student import frozen_copy

Predict = Callable[[nn.Module, Any, Any], tuple[Any, Any]]
"""(model, inputs, hidden state) -> (outputs, next hidden state); the state begins as None."""


@dataclass
class Teacher:
    """One teacher: its model, the step of its weights and the hidden state it carries.

    The hidden state outlives a refresh of the weights, as the student's outlives an update.
    """

    model: nn.Module
    step: int
    state: Any = None


class Teachers:
    """The teachers of one rank, by group; each teaches from its first weights on."""

    def __init__(
        self,
        student: nn.Module,
        groups: Collection[int],
        predict: Predict,
        logits: Logits = None,
    ) -> None:
        """
        Args:
            student: Copied for each teacher now, so that want of memory shows at the start.
            groups: Those that will teach.
            predict: How a teacher predicts.
            logits: Which part of its outputs the logits are.

        Raises:
            HvcodError: The student cannot be copied.
        """
        self._models = {group: frozen_copy(student) for group in groups}
        self._predict, self._logits = predict, logits
        self._teachers: dict[int, Teacher] = {}

    @property
    def steps(self) -> dict[int, int]:
        """{group: step} of the weights in use."""
        return {group: teacher.step for group, teacher in sorted(self._teachers.items())}

    @property
    def hidden(self) -> dict[int, Any]:
        """{group: hidden state} of this rank's teachers."""
        return {group: teacher.state for group, teacher in sorted(self._teachers.items())}

    def set_hidden(self, states: Mapping[int, Any]) -> None:
        """Puts the hidden states back that `hidden` gave."""
        for group, state in states.items():
            self._teachers[group].state = state

    def state_dict(self) -> dict[int, dict[str, Any]]:
        """{group: {step, weights}}, the same on all ranks; see `load` for the way back."""
        return {
            group: {"step": teacher.step, "weights": _narrowed(teacher.model)}
            for group, teacher in sorted(self._teachers.items())
        }

    def load(self, group: int, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Puts fresher weights into the teacher of a group; half precision widens here."""
        if group not in self._teachers:
            self._teachers[group] = Teacher(self._models[group], step)
        teacher = self._teachers[group]
        with torch.no_grad():
            for name, target in teacher.model.state_dict().items():
                target.copy_(tensors[name])
        teacher.step = step

    @torch.no_grad()
    def predict(self, inputs: Any, groups: Collection[int]) -> list[Tensor]:
        """The logits of some teachers on the student's inputs; advances their hidden states."""
        logits = []
        for group in sorted(groups):
            teacher = self._teachers[group]
            outputs, teacher.state = self._predict(teacher.model, inputs, teacher.state)
            logits.append(logits_of(outputs, self._logits))
        return logits


def _narrowed(model: nn.Module) -> dict[str, Tensor]:
    """The weights in half precision where, as most came from it, that holds them exactly."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        tensors[name] = half if torch.equal(half.to(tensor.dtype), tensor) else tensor
    return tensors
