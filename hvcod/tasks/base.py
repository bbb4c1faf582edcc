"""The contract of a task: data, model, loss, metrics, presets; only it knows what is trained."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hvcod.codistill.losses import distillation_loss
from hvcod.config import TrainOptions
from hvcod.groups.split import Group
from hvcod.tasks.metrics import UNKNOWN, Metric, negative_log_likelihood
from hvcod.tree import map_tensors

__all__ = ["UNKNOWN", "Batch", "Ids", "Task", "TrainingData"]

Ids = Sequence[str] | npt.NDArray[np.int64]
"""A name or a number for each prediction, by which files of predictions are put side by side."""


@dataclass(frozen=True)
class Batch:
    """What one rank trains on in one step, or evaluates at once.

    Attributes:
        inputs: What the model sees: a tensor, or a tuple or mapping of tensors, whose first
            dimension counts examples.
        targets: What it should say: class indices, [N] or [N, T]; `UNKNOWN` is not scored.
        ids: For evaluation: an id of each prediction, in the order of the flattened targets; a
            negative number marks padding, which is no prediction.
        begins: For evaluation: it is the first of a sequence; hidden states start anew.
    """

    inputs: Any
    targets: Tensor
    ids: Ids | None = None
    begins: bool = True

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        inputs = map_tensors(lambda each: each.to(device, non_blocking=True), self.inputs)
        targets = self.targets.to(device, non_blocking=True)
        return dataclasses.replace(self, inputs=inputs, targets=targets)


class TrainingData(Protocol):
    """An endless stream of batches that knows its exact position."""

    def next(self) -> Batch:
        """The next batch of this rank."""
        ...

    def state_dict(self) -> Mapping[str, np.ndarray]:
        """The position of this rank, as small arrays whose first dimension counts its examples.

        So a group can be resumed with other ranks that share out the same examples.
        """
        ...

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts the stream back to a position that `state_dict` gave."""
        ...


class Task(ABC):
    """One thing to train, as one rank of one group sees it.

    Attributes:
        Options: The task's own options, the section ``model`` of the tree (`hvcod.config.option`).
        presets: Sets of defaults by name: {key: value}; every task has ``laptop`` and ``paper``.
        state_rows: The dimension of the tensors in a hidden state that counts examples.
    """

    Options: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    state_rows: ClassVar[int] = 0

    def __init__(self, options: TrainOptions, group: Group) -> None:
        self.options, self.group = options, group

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A freshly initialised model; the caller has seeded torch."""

    @abstractmethod
    def training_data(self) -> TrainingData:
        """This rank's share of the training data."""

    @abstractmethod
    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """This rank's share of one pass over a part of the data, the same in every group.

        The part is divided into sequences of batches, most often of one batch each, in a way that
        does not depend on the ranks: rank r of n gets every n-th of them from the r-th on, so that
        predictions are the same for any number of ranks. ``validation_examples`` of the options
        limits the pass.

        Args:
            part: ``validation``, ``training`` or what other parts the data have.

        Raises:
            HvcodError: The data have no such part.
        """

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The task loss (phi of Algorithm 1), a scalar: the mean over the scored predictions."""

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits of student or teacher, and the hidden state that it carries to the next batch.

        The state is made of dictionaries, lists, tuples, plain values and tensors, or is None.
        """
        return model(inputs), None

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """The predictive distributions, [N, classes] in float32 and natural logarithms."""
        return torch.log_softmax(logits.flatten(0, -2), dim=-1, dtype=torch.float32)

    def predictions(self, log_probabilities: Tensor) -> Tensor:
        """What `hvcod predict` writes: of each example its distribution [N, classes] or less."""
        return log_probabilities.exp()

    def metrics(self) -> dict[str, Metric]:
        """What is measured of a model besides training; ``loss`` is always among them."""
        return {"loss": negative_log_likelihood()}

    def distillation_loss(self, logits: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """The distillation loss (psi of Algorithm 1), a scalar; may overwrite the teachers."""
        return distillation_loss(logits, teachers, overwrite_teachers=True)

    def reference(self) -> Mapping[str, float]:
        """Named validation losses to compare with, such as that of a model without context."""
        return {}
