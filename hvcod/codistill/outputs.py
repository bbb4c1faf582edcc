"""What a model is given and what it says, whatever form that has."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hvcod.errors import HvcodError

Logits = int | str | Callable[[Any], Tensor] | None
"""Which part of a model's outputs the logits are: an item, what a function finds; None: all."""


def call(model: nn.Module, inputs: Any, state: Any) -> tuple[Any, Any]:
    """The outputs of a model that needs no hidden state; the state is handed through.

    A tuple of inputs holds positional arguments, a mapping keyword arguments.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs), state
    if isinstance(inputs, tuple):
        return model(*inputs), state
    return model(inputs), state


def logits_of(outputs: Any, which: Logits) -> Tensor:
    """The logits among the outputs of a model.

    Raises:
        HvcodError: There is no such part, or it is no tensor.
    """
    found = _part(outputs, which)
    if not isinstance(found, Tensor):
        raise HvcodError(
            f"the logits must be a tensor, but logits={which!r} finds {_shown(found)}; tell the "
            "Codistiller which part of the outputs they are, such as logits=0 or logits='logits'"
        )
    return found


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
