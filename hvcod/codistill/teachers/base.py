"""The contract of a teacher: it answers a batch with its predictions.

To add a kind of teacher, derive a class from `Teacher` in a file of its own and give it to the
Codistiller among its ``fixed`` teachers, or return it from `Exchange.teachers` if an exchange
brings what it answers from.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvcod.codistill.parts import WHOLE, Part
from hvcod.codistill.predictions.sampled import AnyPrediction
from hvcod.codistill.projected import Predicted, Projected
from hvcod.errors import HvcodError

Label = int | str
"""The key of a teacher in metrics: its group, or its name."""


@dataclass(frozen=True)
class Question:
    """A batch, as teachers see it.

    Attributes:
        inputs: Those of the student.
        like: The student's logits, whose shape and device the answers have; an empty tensor if
            only the device is known. If they are `Projected`, answers may be as well.
        places: The places of the batch's predictions in the training data, int64, in the order of
            the flattened targets; a negative one marks padding. None: unknown.
        part: The part of the step's batch that this is, if it is learned in parts.
        state_rows: The dimension of hidden states that counts the rows of a batch.
    """

    inputs: Any
    like: Predicted
    places: npt.NDArray[np.int64] | None = None
    part: Part = WHOLE
    state_rows: int = 0

    def alike(self, logits: Tensor) -> Tensor:
        """Returns an answer of the same logits, [classes] or a scalar, for each prediction."""
        alike = logits.to(self.like.device).expand(self.like.shape)
        # A loss of projected logits overwrites no answer.
        if isinstance(self.like, Projected):
            return alike
        return alike.clone(memory_format=torch.contiguous_format)


class Teacher(ABC):
    """Answers batches, and carries a hidden state from one to the next if it has any.

    Attributes:
        name: Names it in messages, such as ``group 1``.
        label: Its key in metrics.
        source: Where its predictions come from, for messages; empty if its exchange knows.
        dropped: Whether it is left out, until fresher weights come.
        state: The hidden state after the last batch; None at first.
    """

    def __init__(self, name: str, label: Label, source: str = "") -> None:
        self.name, self.label, self.source = name, label, source
        self.dropped = False
        self.state: Any = None
        self._before: Any = None

    @abstractmethod
    def predict(self, question: Question, state: Any) -> tuple[AnyPrediction, Any]:
        """Returns its predictions on a batch, and the next hidden state; changes nothing here.

        Predictions are logits, or sampled ones in their place; both are shaped like the student's.

        The answer may be overwritten, and must not be part of the hidden state.
        """

    @property
    def here(self) -> bool:
        """True if it can answer: weights that an exchange brings may not have come yet."""
        return True

    @property
    def step(self) -> int | None:
        """The step of this run at which its weights were published; None if it is fixed."""
        return None

    @property
    def general(self) -> bool:
        """True if it can answer batches that are not of the training, such as for validation."""
        return True

    @property
    def judged(self) -> bool:
        """True if its losses are measured, and it is left out or reported if they are high."""
        return True

    @property
    def usable(self) -> bool:
        """True if it may teach now."""
        return self.here and not self.dropped

    def answer(self, question: Question) -> AnyPrediction:
        """Returns its predictions on a batch or the next part of it; advances its hidden state."""
        part, rows = question.part, question.state_rows
        if part.index == 0:
            self._before = part.settled(self.state, rows)
        prediction, state = self.predict(question, part.before(self.state, rows))
        self.state = part.after(self.state, state, rows)
        return prediction

    def drop(self) -> None:
        """Leaves it out until fresher weights come.

        Its hidden state begins anew then: it may hold what the weights have made of it.
        """
        self.dropped, self.state, self._before = True, None, None

    def rewind(self) -> None:
        """Takes back what the last batch did to its hidden state."""
        # The first batch made the state: there is none to go back to.
        if self._before is not None:
            self.state = self._before

    def load(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        model: str = "",
        base: int | None = None,
    ) -> bool:
        """Puts fresher weights into it, which an exchange brings.

        Args:
            step: The step at which they were published.
            tensors: Those of the model's `state_dict`.
            model: Its architecture, as `Origin.model` says; empty: that of the student.
            base: The step of the weights that they are changes upon (`hvcod.exchange.changes`),
                which it has; None: they are whole.

        Returns:
            True if hidden states begin anew, as it has become another model.

        Raises:
            HvcodError: It takes none.
        """
        raise HvcodError(f"{self.name} takes no weights of step {step}")

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what a training state holds of it besides its hidden state, on all ranks."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned.

        Raises:
            HvcodError: The state is that of another teacher.
        """
