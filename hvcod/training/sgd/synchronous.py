"""Synchronous SGD: every update uses the mean of all ranks' gradients."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from hvcod.config import TrainOptions
from hvcod.groups.split import Group
from hvcod.spans import ALLREDUCE
from hvcod.training.sgd.base import BaseAlgorithm

log = logging.getLogger("hvcod.training")


class Synchronous(BaseAlgorithm):
    """Synchronous SGD: Horovod averages the gradients, which are clipped and applied afterwards.

    A group of one rank has nothing to average and does without Horovod.
    """

    def __init__(self, model: nn.Module, group: Group, options: TrainOptions) -> None:
        """All ranks leave with rank 0's weights; see `BaseAlgorithm`. Collective."""
        super().__init__(model, group, options)
        self._mean = None
        if group.trainers > 1:
            from hvcod.training.sgd.allreduce import Allreduce

            self._mean = Allreduce(model, group, self.updates, options.compress)
        elif options.compress != "none":
            log.info("--compress: no effect with groups of one rank, which send no gradients")

    def step(self, loss: Tensor) -> bool:
        """Makes one step down the mean gradient; returns False if it was skipped. Collective."""
        self.updates.begin()
        if self._mean is not None:
            self._mean.begin()
        self.updates.backward(loss)
        self.updates.complete()
        if self._mean is not None:
            with ALLREDUCE:
                self._mean.wait()
        # A NaN of one rank has reached all of them with the mean: all decide alike.
        return self.updates.apply()

    def changed_rows(self) -> Mapping[str, Tensor]:
        """Returns the rows that occurred in the group's batch; see `BaseAlgorithm`."""
        return self.updates.changed_rows()

    @property
    def sent(self) -> int:
        """Bytes of gradients."""
        return self._mean.sent if self._mean is not None else 0
