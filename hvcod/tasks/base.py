"""The contract of a task: data, model, loss, presets; only a task knows what is trained."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hvcod.codistill.losses import distillation_loss
from hvcod.config import TrainOptions
from hvcod.groups.split import Group


@dataclass(frozen=True)
class Batch:
    """What one rank trains on in one step.

    Attributes:
        inputs: What the model sees; the first dimension counts examples.
        targets: What it should say.
        count: Predictions that are scored, for a mean over batches of different size.
    """

    inputs: Tensor
    targets: Tensor
    count: int

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        inputs = self.inputs.to(device, non_blocking=True)
        return Batch(inputs, self.targets.to(device, non_blocking=True), self.count)


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
    def validation_data(self) -> Iterator[Batch]:
        """This rank's share of one pass over the validation data, the same in every group."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The task loss (phi of Algorithm 1), a scalar: the mean over the scored predictions."""

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits of student or teacher, and the hidden state that it carries to the next batch.

        The state is made of dictionaries, lists, tuples, plain values and tensors, or is None.
        """
        return model(inputs), None

    def distillation_loss(self, logits: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """The distillation loss (psi of Algorithm 1), a scalar; may overwrite the teachers."""
        return distillation_loss(logits, teachers, overwrite_teachers=True)

    def reference(self) -> Mapping[str, float]:
        """Named validation losses to compare with, such as that of a model without context."""
        return {}
