"""The student: what of a model is published, and whether it can be codistilled."""

import copy
import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hvcod.errors import HvcodError
from hvcod.tensorfile.format import TensorSpec, specification, stored_dtypes


def specified(model: nn.Module) -> dict[str, TensorSpec]:
    """The names, shapes and types that the published checkpoints of a model have.

    Raises:
        HvcodError: Its `state_dict` holds what cannot be published.
    """
    tensors = model.state_dict()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise HvcodError(
                f"the model cannot be published: {name} of its state_dict() is "
                f"{type(tensor).__name__}, not a tensor"
            )
        if is_lazy(tensor):
            raise HvcodError(
                f"the model cannot be published yet: {name} has no shape; send one batch through "
                "the model before you make the Codistiller"
            )
        stored_dtypes(name, tensor.dtype)
    return specification(tensors)


def check_unchanged(model: nn.Module, expected: Mapping[str, TensorSpec]) -> None:
    """Raises HvcodError if a model has other tensors than when it was specified."""
    here = specification(model.state_dict())
    if here != expected:
        name = next(n for n in {**here, **expected} if here.get(n) != expected.get(n))
        raise HvcodError(
            f"the model has changed since the Codistiller was made, first in {name}: make the "
            "Codistiller when the model has its final layers and types"
        )


def check_weights(tensors: Mapping[str, Tensor], expected: Mapping[str, TensorSpec]) -> None:
    """Raises HvcodError if saved weights have other names or shapes than a model's."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in {**shapes, **expected}:
        if name not in expected or shapes.get(name) != expected[name].shape:
            raise HvcodError(f"the state is that of another model: they differ in {name}")


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy for a teacher, on the same device, in evaluation mode and without gradients.

    Raises:
        HvcodError: The model cannot be copied.
    """
    try:
        # Whatever a user's model is made of may refuse, in its own way.
        copied = copy.deepcopy(model)
    except Exception as error:
        raise HvcodError(
            f"the model cannot be copied to make a teacher of it ({' '.join(str(error).split())}): "
            "it must allow copy.deepcopy; old weight_norm and results of a forward pass that are "
            "kept in attributes do not"
        ) from error
    return copied.eval().requires_grad_(False)


def device_of(model: nn.Module) -> torch.device | None:
    """The device of a model's first tensor; None if it has none."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), None)
