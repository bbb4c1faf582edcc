"""The ensemble of the groups that one process trains (``--validate-ensemble``)."""

from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

import torch
from torch import nn

from hvcod.tasks.base import Task
from hvcod.training.validation import NOTHING, Measured, validate


class Member(Protocol):
    """A group's model, while it is trained."""

    @property
    def done(self) -> int:
        """The number of steps that it has made."""
        ...

    @property
    def averaged(self) -> bool:
        """True if a moving average of its weights is validated, too."""
        ...

    def shown(self, average: bool = False) -> AbstractContextManager[tuple[Task, nn.Module]]:
        """Gives its task, and the model with the weights that are validated."""
        ...


class Ensemble:
    """The models of a process that trains several groups in turn, scored together.

    The last group measures. When its turn comes the others have made the same step, and wait.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        """`count` is the number of groups."""
        self._count, self._device = count, device
        self._members: list[Member] = []

    def join(self, member: Member) -> None:
        """Adds a group; in their order."""
        self._members.append(member)

    def leave(self, member: Member) -> None:
        """Takes a group out that has ended. Of those that are left nothing is measured."""
        if member in self._members:
            self._members.remove(member)

    def measured(self, member: Member) -> Measured:
        """Returns the metrics of the mean of all groups' predictive distributions.

        With those of their averages as ``average_`` and so on, if all are validated. There are none
        but for the last group, and none if another one has ended, or makes other steps, because it
        went on from another one.
        """
        together = len(self._members) == self._count > 1 and member is self._members[-1]
        if not together or any(each.done != member.done for each in self._members):
            return NOTHING
        measured = self._measured(average=False)
        if all(each.averaged for each in self._members):
            measured = measured.beside(self._measured(average=True).named("average_"))
        return measured

    def _measured(self, average: bool) -> Measured:
        self._wait()
        with ExitStack() as stack:
            models = [stack.enter_context(each.shown(average)) for each in self._members]
            measured = validate(models, self._device)
        self._wait()
        return measured

    def _wait(self) -> None:
        """Waits for the device: each group computes on a stream of its own."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
