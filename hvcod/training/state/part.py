"""The seam of training states: a part is whatever a training needs to go on where it stopped."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hvcod.tree import map_tensors


class Part(Protocol):
    """A part of a training state, such as a model, an optimiser or a position in the data.

    Its state is a tree of dictionaries, lists, tuples, plain values and tensors (`hvcod.tree`).
    """

    def state_dict(self) -> Any:
        """Returns the state, which is copied at once."""
        ...

    def load_state_dict(self, state: Any, /) -> object:
        """Goes on from what `state_dict` returned, on the host.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError: The state does not fit.
            HvcodError: The state does not fit, for a reason that the user should read.
        """
        ...


class Attribute:
    """An attribute of an object as a part, such as a hidden state; its tensors are on a device."""

    def __init__(self, owner: object, name: str, device: torch.device) -> None:
        self._owner, self._name, self._device = owner, name, device

    def state_dict(self) -> Any:
        """Returns the attribute."""
        return getattr(self._owner, self._name)

    def load_state_dict(self, state: Any, /) -> None:
        """Sets the attribute."""
        setattr(self._owner, self._name, map_tensors(lambda leaf: leaf.to(self._device), state))


class Buffers:
    """The buffers of a model as a part: each rank has running statistics of its own."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the buffers by name."""
        return dict(self._model.named_buffers())

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Sets the buffers and leaves the parameters alone."""
        self._model.load_state_dict(state, strict=False)
