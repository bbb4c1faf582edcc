"""A teacher that answers every example alike: label smoothing (paper, section 3.3)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hvcod.codistill.predictions.sampled import Prediction
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.errors import HvcodError


class ConstantTeacher(Teacher):
    """Gives each prediction the same distribution.

    How well it predicts says nothing about its use, so its losses are not judged.
    """

    def __init__(self, logits: Tensor, name: str) -> None:
        """`logits`: [classes] or a scalar, the same for all examples; on any device."""
        super().__init__(f"the {name} distribution", name, "the options")
        self._logits = logits

    @property
    def judged(self) -> bool:
        """False: it is not meant to predict well."""
        return False

    def predict(self, question: Question, state: Any) -> tuple[Prediction, Any]:
        """Returns its logits for each prediction, shaped like the student's.

        Raises:
            HvcodError: The student predicts other classes.
        """
        shape = question.like.shape
        if self._logits.dim() and self._logits.shape != shape[-1:]:
            raise HvcodError(
                f"{self.name} has {len(self._logits)} classes, but the student's logits have "
                f"{shape[-1]}"
            )
        self._logits = self._logits.to(question.like.device)
        return question.alike(self._logits), state

    def state_dict(self) -> dict[str, Any]:
        """Returns its name: it is made again from the options."""
        return {"name": self.name}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises HvcodError if the state is that of another distribution."""
        if state.get("name") != self.name:
            raise HvcodError(f"the state is not that of {self.name}")
