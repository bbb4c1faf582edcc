"""The seam for base algorithms: what the training loop needs of one.

A base algorithm decides how the ranks of a group train one model together. To add one, derive a
class from `BaseAlgorithm` in a file of its own and name it in ``BASE_ALGORITHMS`` of
hvcod/registry.py.
"""

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.training.sgd.updates import Updates
from hvcod.training.state.keeper import Keeper


class BaseAlgorithm(ABC):
    """Trains the model of a group; its `updates` apply gradients, whatever way they came.

    Attributes:
        asynchronous: Whether the ranks of a group go at paces of their own. Then a group has a
            `hvcod.groups.pace.Pace`, which says when a step ends on all of them.
    """

    asynchronous: ClassVar[bool] = False

    def __init__(self, model: nn.Module, group: Group, options: TrainOptions) -> None:
        """Collective over the group's trainers; the model is on its device.

        Raises:
            UsageError: The options do not fit the model.
        """
        self.model, self.group = model, group
        self.updates = Updates(model, options, self.examples(group, options))

    @staticmethod
    def examples(group: Group, options: TrainOptions) -> int:
        """Returns the examples behind an update, for linear scaling of the learning rate."""
        return group.trainers * options.batch_size

    def rounds(self) -> Iterator[None]:
        """Begins a step of the group, and yields for each update that this rank makes in it.

        One, unless the algorithm is asynchronous.
        """
        yield

    def accumulate(self, loss: Tensor) -> None:
        """Adds the gradients of a part of the batch to the step to come. Not collective."""
        self.updates.accumulate(loss)

    @abstractmethod
    def step(self, loss: Tensor) -> bool:
        """Makes one step from this rank's loss, or from that of the last part of its batch.

        Returns False if it was skipped. `Updates.begin` keeps the gradients of earlier parts.

        Collective over the group's trainers, unless the algorithm is asynchronous.

        Raises:
            DivergedError: The gradient is NaN or infinite; on all ranks at the same step. The
                weights are still good.
        """

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the weights that are published, validated and saved as the group's model.

        They have the form of the model's `state_dict`, which they are by default; an algorithm
        whose ranks differ returns others, the same on all ranks. Collective.
        """
        state: dict[str, Tensor] = self.model.state_dict()
        return state

    def changed_rows(self) -> Mapping[str, Tensor] | None:
        """Returns the rows of embedding tables in which the last step changed `weights`, by name.

        Each once; all other rows are bit-equal to those before. None, if the algorithm does not
        know, as by default: then tables are published whole. Asked for after each step.
        """
        return None

    def register(self, keeper: Keeper) -> None:
        """Registers what a training state holds of the model's weights and the algorithm.

        By default `weights` and `state_dict` of the group root, for all ranks. An algorithm whose
        ranks differ also registers what each rank has of its own.
        """
        keeper.shared("model", GroupWeights(self))
        keeper.shared("optimizer", self)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Gives all ranks the same weights, which do not change for as long as it lasts.

        Collective over the group, after the same step on all ranks.
        """
        yield

    @property
    def sent(self) -> int:
        """Bytes that this rank has given to its group to be averaged since the launch began."""
        return 0

    @property
    def skipped(self) -> int:
        """Updates that were skipped, as their gradient was NaN or infinite; on the group root."""
        return self.updates.skipped

    def figures(self) -> dict[str, object]:
        """Returns what a line of metrics shows of the algorithm. Collective, unless asynchronous.

        What the group root gets is written.
        """
        return self.updates.figures()

    def summary(self) -> dict[str, object]:
        """Returns what the summary shows of the algorithm. Collective over the group."""
        return {"skipped": self.skipped}

    def replicated(self) -> Iterable[Tensor]:
        """Returns the tensors that are bit-equal on all trainers: by default, all parameters."""
        return self.model.parameters()

    def common_weights(self) -> str:
        """Returns the SHA-256 of this rank's parameters, once `replicated` ones proved to be equal.

        Collective over the group.

        Raises:
            HvcodError: They differ between two ranks, so that something was not averaged.
        """
        digests = self.group.comm.allgather(_digest(self.replicated()))
        different = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if different:
            raise HvcodError(
                f"group {self.group.index}: ranks {different} ended with other weights than rank "
                "0; do not use this run: the gradients were not averaged"
            )
        return _digest(self.model.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Returns what the algorithm has to remember: a tree as `hvcod.tree` takes it."""
        return self.updates.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self.updates.load_state_dict(state)


class GroupWeights:
    """The weights of a group's model as a part of its training state."""

    def __init__(self, algorithm: BaseAlgorithm) -> None:
        self._algorithm = algorithm

    def state_dict(self) -> Mapping[str, Tensor]:
        """Returns the weights. Collective."""
        return self._algorithm.weights()

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        """Gives them to the model of this rank."""
        self._algorithm.model.load_state_dict(state)


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
