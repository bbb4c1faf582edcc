"""Synchronous SGD inside a group: Adam on gradients that Horovod averages, and its schedule."""

import math

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions


class Optimizer:
    """Adam, whose gradients are the mean over the group, clipped after the averaging."""

    def __init__(self, model: nn.Module, options: OptimizerOptions, steps: int) -> None:
        """Collective over the group: all ranks leave with rank 0's weights."""
        self._model, self._options, self._steps = model, options, steps
        betas = (options.beta1, options.beta2)
        adam = torch.optim.Adam(model.parameters(), lr=options.learning_rate, betas=betas)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        self._horovod = hvd.DistributedOptimizer(adam, named_parameters=model.named_parameters())
        self._done = 0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._horovod.param_groups[0]["lr"])

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss, averaged over the group. Collective."""
        factor = schedule(self._done, self._steps, self._options)
        for part in self._horovod.param_groups:
            part["lr"] = self._options.learning_rate * factor
        self._horovod.zero_grad()
        loss.backward()
        self._horovod.synchronize()
        if self._options.clip:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._options.clip)
        with self._horovod.skip_synchronize():
            self._horovod.step()
        self._done += 1


def schedule(step: int, steps: int, options: OptimizerOptions) -> float:
    """The factor of the learning rate at a step from 0: linear warm-up, then constant or decay."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    if options.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - options.warmup) / max(1, steps - options.warmup))
    return (
        1.0 - progress if options.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    )
