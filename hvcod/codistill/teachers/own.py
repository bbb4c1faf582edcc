"""A group that is its own teacher, by the moving average of its weights: a mean teacher."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from hvcod.codistill.average import Average
from hvcod.codistill.outputs import Logits
from hvcod.codistill.projected import Predicted
from hvcod.codistill.teachers.base import Question
from hvcod.codistill.teachers.model import ModelTeacher, Predict, copy_of


class OwnAverage(ModelTeacher):
    """The student with the average of its weights (Tarvainen & Valpola, arXiv 1703.01780).

    It is always as fresh as the student, so it is never left out, and its losses are not judged.
    """

    def __init__(
        self,
        student: nn.Module,
        average: Average,
        predict: Predict,
        logits: Logits,
        precision: str = "fp32",
    ) -> None:
        name, model = "the group's own average", copy_of(student)
        super().__init__(model, predict, logits, name, "average", precision=precision)
        self._average, self._loaded = average, -1

    @property
    def judged(self) -> bool:
        """False: what would be wrong with it is wrong with the student."""
        return False

    def predict(self, question: Question, state: Any) -> tuple[Predicted, Any]:
        """Returns the logits of the average after the last update, and its next hidden state."""
        if self._loaded != self._average.updates:
            self._loaded = self._average.updates
            self._held.load(self._average.weights())
        return super().predict(question, state)

    def drop(self) -> None:
        """Begins its hidden state anew; its weights are fresh after the next update anyway."""
        self.state = self._before = None

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the average is saved for itself."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Does nothing."""
