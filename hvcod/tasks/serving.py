"""Models as they are served: modules of tensors alone, which torch can export.

What is here runs while `torch.export` traces it; what is exported knows nothing of hvcod.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hvcod.errors import HvcodError

if TYPE_CHECKING:
    from hvcod.tasks.base import Task

ROWS = "rows"
"""The name of the dimension that counts the examples of a batch."""


@dataclass(frozen=True)
class Argument:
    """An argument of a model that is served.

    Attributes:
        name: Its name.
        example: A tensor with which the model is traced.
        free: {dimension: name} of those that may have any size, the same where the name is.
        first: Whether it is a state, which begins as zeros of the same shape.
    """

    name: str
    example: Tensor
    free: Mapping[int, str]
    first: bool = False

    @property
    def shape(self) -> list[int | str]:
        """Its shape, with the names of free dimensions in their places."""
        return [self.free.get(index, size) for index, size in enumerate(self.example.shape)]


class Served(nn.Module):
    """A model that maps the inputs of a batch to what ``hvcod predict`` writes for its examples.

    Attributes:
        outputs: The names of its results.
    """

    outputs: Sequence[str] = ("predictions",)

    def __init__(self, task: "Task", model: nn.Module) -> None:
        super().__init__()
        self._task, self.model = task, model
        self._names: list[str] | None = None
        self._bare = True

    def arguments(self, inputs: Any) -> list[Argument]:
        """Returns the arguments for the inputs of a batch, as examples.

        The tensors of a tuple or mapping are arguments one by one.

        Raises:
            HvcodError: The inputs are neither tensors nor tuples or mappings of tensors.
        """
        tensors = inputs if isinstance(inputs, Sequence | Mapping) else [inputs]
        if isinstance(tensors, Mapping):
            self._names, tensors = list(tensors), list(tensors.values())
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise HvcodError(
                "--with-model: the inputs of this task are neither tensors nor a tuple or mapping "
                "of tensors: override its served()"
            )
        self._bare = isinstance(inputs, Tensor)
        names = self._names or [f"input_{number}" for number in range(len(tensors))]
        return [
            Argument(name, two_rows(tensor), {0: ROWS})
            for name, tensor in zip(names, tensors, strict=True)
        ]

    def forward(self, *inputs: Tensor) -> Any:
        """Returns predictions [rows, ...] for the arguments.

        Raises:
            HvcodError: The task has a hidden state.
        """
        whole: Any = inputs[0] if self._bare else inputs
        if self._names is not None:
            whole = dict(zip(self._names, inputs, strict=True))
        logits, state = self._task.predict(self.model, whole, None)
        if state is not None:
            raise HvcodError(
                "--with-model: predict() of this task returns a hidden state: override its "
                "served() (docs/export.md)"
            )
        return self.answer(logits)

    def answer(self, logits: Tensor) -> Tensor:
        """Returns what ``hvcod predict`` writes of logits, in the shape of the batch."""
        shape = logits.shape if self._task.likelihood == "binary" else logits.shape[:-1]
        predictions = self._task.predictions(self._task.log_probabilities(logits))
        return predictions.unflatten(0, shape) if len(shape) > 1 else predictions


def two_rows(tensor: Tensor) -> Tensor:
    """Returns two rows of a tensor: torch takes the size of a dimension for fixed if it is one."""
    return tensor[:2] if len(tensor) > 1 else torch.cat([tensor, tensor])
