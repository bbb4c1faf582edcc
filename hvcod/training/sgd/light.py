"""Optimisers of torch that start fast: without `torch._dynamo`, whose import they begin with.

They import it, and sympy with it, to keep ``torch.compile`` from compiling a part of them, which
nobody asks for here. That takes as long as half of torch itself, in every rank.
"""

import inspect
from typing import Any, TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=type[Optimizer])

_KEPT_FROM_COMPILING = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def light(kind: Kind) -> Kind:
    """Returns a class of optimisers that do the same; hooks of their steps are called as well."""
    for name in _KEPT_FROM_COMPILING:
        method = inspect.unwrap(getattr(Optimizer, name))
        # In this attribute torch keeps what it calls instead of the method.
        vars(method).setdefault("__dynamo_disable", method)
    step = torch.no_grad()(inspect.unwrap(kind.step))
    made: Any = type(kind.__name__, (kind,), {"step": step})
    light_kind: Kind = made
    return light_kind
