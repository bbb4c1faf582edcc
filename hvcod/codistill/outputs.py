"""Inputs and outputs of a model, in any form that a user gives them."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hvcod.codistill.projected import Predicted, Projected
from hvcod.errors import HvcodError

Logits = int | str | Callable[[Any], Predicted] | None
"""The part of a model's outputs that the logits are: an item, a function's result; None: all."""


def call(model: nn.Module, inputs: Any, state: Any) -> tuple[Any, Any]:
    """Returns the outputs of a model without a hidden state, and the state unchanged.

    A tuple of inputs holds positional arguments, a mapping keyword arguments.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs), state
    if isinstance(inputs, tuple):
        return model(*inputs), state
    return model(inputs), state


def logits_of(outputs: Any, which: Logits) -> Predicted:
    """Returns the logits among the outputs of a model.

    Raises:
        HvcodError: There is no such part, or it is not a tensor.
    """
    logits = _part(outputs, which)
    if not isinstance(logits, Tensor | Projected):
        raise HvcodError(
            f"the logits must be a tensor, but logits={which!r} is {_shown(logits)}; tell the "
            "Codistiller which part of the outputs they are, such as logits=0 or logits='logits'"
        )
    return logits


def _part(outputs: Any, which: Logits) -> Any:
    if which is None:
        return outputs
    if callable(which):
        return which(outputs)
    try:
        if isinstance(outputs, Tensor):
            raise KeyError(which)
        if isinstance(which, int) or isinstance(outputs, Mapping):
            return outputs[which]
        return getattr(outputs, which)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise HvcodError(f"the outputs have no {which!r}: they are {_shown(outputs)}") from error


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(repr, value))}"
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", ())
        of = ", ".join(names) if names else f"{len(value)} items"
        return f"a {type(value).__name__} of {of}"
    return f"of type {type(value).__name__}"
