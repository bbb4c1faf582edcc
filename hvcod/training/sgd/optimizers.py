"""The optimisers of torch behind ``--algorithm``: for dense gradients, and for tables by rows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hvcod.config import OptimizerOptions
from hvcod.errors import UsageError


def dense_optimizer(
    parameters: Sequence[nn.Parameter], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """Returns the optimiser of parameters with dense gradients.

    The key ``decays`` of its parameter groups says whether weight decay applies: not to biases and
    normalisation, which have one dimension (Goyal et al. 2017).
    """
    groups: list[dict[str, Any]] = []
    for decays in (True, False):
        chosen = [each for each in parameters if (each.dim() > 1) is decays]
        if chosen:
            groups.append({"params": chosen, "decays": decays})
    match options.algorithm:
        case "adagrad":
            start = options.initial_accumulator
            return torch.optim.Adagrad(groups, initial_accumulator_value=start)
        case "sgd":
            nesterov = options.momentum > 0
            return torch.optim.SGD(groups, momentum=options.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, betas=(options.beta1, options.beta2))


def sparse_optimizer(
    tables: Sequence[nn.Parameter], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """Returns the optimiser of embedding tables, which updates the rows of a batch.

    Raises:
        UsageError: The algorithm has no such form.
    """
    # This is the default; unless it is set, torch warns of it once in every process.
    torch.sparse.check_sparse_tensor_invariants.disable()
    match options.algorithm:
        case "adagrad":
            start = options.initial_accumulator
            return torch.optim.Adagrad(tables, initial_accumulator_value=start)
        case "adam":
            return torch.optim.SparseAdam(tables, betas=(options.beta1, options.beta2))
    raise UsageError(
        f"--algorithm {options.algorithm}: embedding tables are updated by the rows of a batch, "
        "for which hvcod has adagrad and adam"
    )
