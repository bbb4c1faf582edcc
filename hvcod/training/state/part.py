"""The seam of training states: a part is whatever a training needs to go on where it stopped."""

import math
import random
from typing import Any, Protocol

import numpy as np
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


class RandomNumbers:
    """The generators of torch (host and device), NumPy and Python as a part of a training state."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the states of the generators; draws nothing."""
        version, words, normal = random.getstate()
        _, keys, position, has_normal, cached = np.random.get_state(legacy=True)
        state = {
            "torch": torch.get_rng_state(),
            "numpy_keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "numpy_place": torch.tensor([int(position), int(has_normal)]),
            "numpy_normal": torch.tensor([float(cached)], dtype=torch.float64),
            "python_words": torch.tensor([version, *words]),
            "python_normal": torch.tensor(
                [math.nan if normal is None else normal], dtype=torch.float64
            ),
        }
        if self._device.type == "cuda":
            state["device"] = torch.cuda.get_rng_state(self._device)
        return state

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Puts the generators back into the states that `state_dict` returned."""
        torch.set_rng_state(state["torch"])
        position, has_normal = state["numpy_place"].tolist()
        keys = state["numpy_keys"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, position, has_normal, float(state["numpy_normal"])))
        version, *words = state["python_words"].tolist()
        normal = float(state["python_normal"])
        random.setstate((version, tuple(words), None if math.isnan(normal) else normal))
        if self._device.type == "cuda" and "device" in state:
            torch.cuda.set_rng_state(state["device"], self._device)
