"""Optimisers for large batches, which give each layer a rate of its own: LARS and LAMB.

A layer is a parameter of two or more dimensions: its update is scaled to the norm of its weights.
Biases and normalisation, which have one dimension, are updated without that and without weight
decay, as usual (MLPerf). The key ``decays`` of a parameter group says which of the two it holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class _Layerwise(torch.optim.Optimizer, ABC):
    """Updates all parameters of a group by few calls."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Updates all parameters that have a gradient; the gradients are overwritten."""
        for group in self.param_groups:
            if weights := [each for each in group["params"] if each.grad is not None]:
                self._update(group, weights, [each.grad for each in weights])

    @abstractmethod
    def _update(self, group: dict[str, Any], weights: list[Tensor], changes: list[Tensor]) -> None:
        """Updates the weights of a group, `changes` are their gradients and may be overwritten."""

    def _averages(self, weights: Iterable[Tensor], name: str) -> list[Tensor]:
        """Returns an average of each parameter, at first zeros."""
        states = [(self.state[each], each) for each in weights]
        for state, each in states:
            if name not in state:
                state[name] = torch.zeros_like(each)
        return [state[name] for state, _ in states]


class Lars(_Layerwise):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888, algorithm 1).

    The rate of a layer is that of all times ``trust |w| / (|g| + decay |w|)``; the momentum is that
    of the paper, whose sum has the rates of its time.
    """

    def __init__(self, parameters: Iterable[Any], trust: float, momentum: float) -> None:
        """`parameters`: groups with the key ``decays``; a learning rate and decay are to follow."""
        defaults = {"lr": 0.0, "weight_decay": 0.0, "trust": trust, "momentum": momentum}
        super().__init__(parameters, defaults)

    def _update(self, group: dict[str, Any], weights: list[Tensor], changes: list[Tensor]) -> None:
        if group["decays"]:
            of_weights, of_changes = _norms(weights), _norms(changes)
            scale = group["trust"] / (of_changes + group["weight_decay"] * of_weights)
            _decay(changes, weights, group["weight_decay"])
            _scale(changes, of_weights, of_changes, scale)
        sums = self._averages(weights, "momentum_buffer")
        torch._foreach_mul_(sums, group["momentum"])
        torch._foreach_add_(sums, changes, alpha=group["lr"])
        torch._foreach_sub_(weights, sums)


class Lamb(_Layerwise):
    """Layer-wise adaptive moments (You et al. 2019, arXiv 1904.00962, algorithm 2).

    An update of Adam, with weight decay, as long as the weights times the learning rate; the
    scaling function of the paper is the identity.
    """

    def __init__(self, parameters: Iterable[Any], betas: tuple[float, float]) -> None:
        """`parameters`: groups with the key ``decays``; a learning rate and decay are to follow."""
        super().__init__(parameters, {"lr": 0.0, "weight_decay": 0.0, "betas": betas, "eps": 1e-6})

    def _update(self, group: dict[str, Any], weights: list[Tensor], changes: list[Tensor]) -> None:
        first, second = group["betas"]
        means = self._averages(weights, "exp_avg")
        squares = self._averages(weights, "exp_avg_sq")
        updates = self._count(weights)
        torch._foreach_lerp_(means, changes, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, changes, changes, 1 - second)
        torch._foreach_copy_(changes, squares)
        torch._foreach_sqrt_(changes)
        torch._foreach_div_(changes, (1 - second**updates) ** 0.5)
        torch._foreach_add_(changes, group["eps"])
        torch._foreach_reciprocal_(changes)
        torch._foreach_mul_(changes, means)
        torch._foreach_div_(changes, 1 - first**updates)
        if group["decays"]:
            _decay(changes, weights, group["weight_decay"])
            of_weights, of_changes = _norms(weights), _norms(changes)
            _scale(changes, of_weights, of_changes, 1 / of_changes)
        torch._foreach_add_(weights, changes, alpha=-group["lr"])

    def _count(self, weights: Iterable[Tensor]) -> float:
        """Counts an update of each parameter; returns how many there were."""
        states = [self.state[each] for each in weights]
        for state in states:
            state["step"] = state.get("step", torch.zeros(())) + 1
        return float(states[0]["step"])


def _norms(tensors: list[Tensor]) -> Tensor:
    """Returns the norms of tensors, [tensors]."""
    return torch.stack(torch._foreach_norm(tensors))


def _decay(changes: list[Tensor], weights: list[Tensor], decay: float) -> None:
    if decay:
        torch._foreach_add_(changes, weights, alpha=decay)


def _scale(changes: list[Tensor], of_weights: Tensor, of_changes: Tensor, scale: Tensor) -> None:
    """Scales the update of each layer by its norm of weights times `scale`; by 1 if one is zero."""
    known = (of_weights > 0) & (of_changes > 0)
    factors = torch.where(known, of_weights * scale, 1.0)
    torch._foreach_mul_(changes, list(factors.unbind()))
