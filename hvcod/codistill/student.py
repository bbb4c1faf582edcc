"""The student: the model that a group trains, and what of it is published."""

import itertools
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hvcod.errors import HvcodError
from hvcod.tensorfile.format import TensorSpec, specification, stored_dtypes


class Student:
    """A model as it was when its Codistiller was made; it is only read.

    Attributes:
        weights_now: Returns the weights that are published: by default the model's `state_dict`.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise HvcodError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
        self.model = model
        self.weights_now: Callable[[], Mapping[str, Tensor]] = model.state_dict
        self._device = _device_of(model)

    @cached_property
    def tensors(self) -> dict[str, TensorSpec]:
        """The names, shapes and types that its published checkpoints have.

        Raises:
            HvcodError: Its `state_dict` holds something that cannot be published.
        """
        tensors = self.model.state_dict()
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise HvcodError(
                    f"the model cannot be published: {name} of its state_dict() is "
                    f"{type(tensor).__name__}, not a tensor"
                )
            if is_lazy(tensor):
                raise HvcodError(
                    f"the model cannot be published yet: {name} has no shape; send one batch "
                    "through the model before you make the Codistiller"
                )
            stored_dtypes(name, tensor.dtype)
        return specification(tensors)

    def weights(self) -> Mapping[str, Tensor]:
        """Returns its weights; raises HvcodError if the model has other tensors than then."""
        weights = self.weights_now()
        here = specification(weights)
        if here != self.tensors:
            names = {**here, **self.tensors}
            name = next(name for name in names if here.get(name) != self.tensors.get(name))
            raise HvcodError(
                f"the model has changed since the Codistiller was made, first in {name}: make the "
                "Codistiller when the model has its final layers and types"
            )
        return weights

    def check_device(self) -> None:
        """Raises HvcodError if the model has moved to another device."""
        if (device := _device_of(self.model)) != self._device:
            raise HvcodError(
                f"the model was on {self._device} when the Codistiller was made and is on {device} "
                "now: move it to its device first"
            )


def _device_of(model: nn.Module) -> torch.device | None:
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), None)
