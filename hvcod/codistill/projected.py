"""Logits that are computed in parts, from the features that a last linear layer projects.

The logits of a large vocabulary are by far the largest tensors of a step. As long as they are
`Projected`, a loss can compute them for a few predictions at a time, and nobody stores them all
(Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models", arXiv 2411.09009).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from hvcod.products import is_linear, linear


class Projected:
    """Logits of features, to be computed by a linear layer when and where they are needed.

    It stands where logits stand, so it is sliced and shaped like them. The layer computes in the
    precision of the autocast in which this was made.

    Attributes:
        features: [..., n].
        layer: Maps features to logits, [..., classes]; its ``out_features`` counts the classes.
    """

    def __init__(self, features: Tensor, layer: nn.Module) -> None:
        self.features, self.layer = features, layer
        self._project: Any = layer
        kind = features.device.type
        self._autocast = torch.is_autocast_enabled(kind)
        self.dtype = torch.get_autocast_dtype(kind) if self._autocast else features.dtype

    @property
    def shape(self) -> torch.Size:
        """The shape of the logits: [..., classes]."""
        classes = self.layer.out_features
        assert isinstance(classes, int)
        return torch.Size([*self.features.shape[:-1], classes])

    @property
    def device(self) -> torch.device:
        """The device of features and logits."""
        return self.features.device

    @property
    def is_linear(self) -> bool:
        """True if the layer is an ``nn.Linear``, whose weight and bias tell all that it does."""
        hooks = self.layer._forward_hooks, self.layer._forward_pre_hooks
        return is_linear(type(self.layer)) and not any(hooks)

    def numel(self) -> int:
        """Returns the number of logits."""
        return self.shape.numel()

    def logits(self) -> Tensor:
        """Returns all logits, through which gradients flow into features and layer."""
        with torch.autocast(self.device.type, self.dtype, enabled=self._autocast):
            logits: Tensor = self._project(self.features)
        return logits

    def ready(self) -> Self:
        """Returns the same logits, to be computed in parts: the layer's weights are cast once.

        No gradients flow through them.
        """
        if not self.is_linear:
            return self.detach()
        layer = cast(nn.Linear, self.layer)
        weight, bias = cast_once(layer.weight, layer.bias, self.dtype)
        project = partial(linear, weight=weight, bias=bias)
        return self._with(features=self.features.detach().to(self.dtype), _project=project)

    def detach(self) -> Self:
        """Returns the same logits, through which no gradients flow into the features."""
        return self._with(features=self.features.detach())

    def reshape(self, shape: Sequence[int]) -> Self:
        """Returns the same logits in another shape, [..., classes]."""
        return self._with(features=self.features.reshape(*shape[:-1], self.features.shape[-1]))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return self._with(features=self.features[rows])

    def _with(self, **attributes: Any) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self) | attributes)
        return other


Predicted = Tensor | Projected
"""The logits of a model, or what they are computed from."""


def computed(logits: Predicted) -> Tensor:
    """Returns logits, which are computed if they have not been."""
    return logits.logits() if isinstance(logits, Projected) else logits


def cast_once(
    weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Returns weight and bias of a linear layer in a type, without gradient."""
    return weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype)
