"""The outer step of DiLoCo: an optimiser of the weights that the ranks of a group share."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hvcod.config import LocalOptions
from hvcod.training.sgd.light import light


class Outer:
    """Nesterov momentum on the difference between the weights before and the mean after.

    The outer gradient is the weights of the last synchronisation less the mean of the ranks'
    weights (Douillard et al., arXiv 2311.08105, algorithm 1). With a learning rate of 1 and no
    momentum the mean is taken as it is, and nothing is kept.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], options: LocalOptions) -> None:
        """The parameters have the weights that all ranks begin with."""
        self._parameters = parameters
        self._before: list[nn.Parameter] = []
        self._optimizer: torch.optim.SGD | None = None
        rate, momentum = options.outer_learning_rate, options.outer_momentum
        if (rate, momentum) != (1.0, 0.0):
            self._before = [nn.Parameter(each.detach().clone()) for each in parameters]
            nesterov = momentum > 0
            self._optimizer = light(torch.optim.SGD)(
                self._before, rate, momentum, nesterov=nesterov
            )

    @property
    def is_mean(self) -> bool:
        """True if the weights to go on with are the mean itself: local SGD."""
        return self._optimizer is None

    @torch.no_grad()
    def step(self) -> None:
        """Takes the parameters for the mean and replaces them by the weights to go on with."""
        if self._optimizer is None:
            return
        for before, mean in zip(self._before, self._parameters, strict=True):
            before.grad = before - mean
        self._optimizer.step()
        for before, parameter in zip(self._before, self._parameters, strict=True):
            parameter.copy_(before)
            before.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the weights of the last synchronisation and the momentum; the same everywhere."""
        if self._optimizer is None:
            return {}
        before = [each.detach() for each in self._before]
        return {"before": before, "optimizer": self._optimizer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        if self._optimizer is None:
            return
        for before, tensor in zip(self._before, state["before"], strict=True):
            before.copy_(tensor)
        self._optimizer.load_state_dict(state["optimizer"])
