"""The optimisers behind ``--algorithm``: for dense gradients, and for tables by rows.

Those of torch for dense gradients are its fused ones, where it has them: one pass over weights,
gradients and averages in place of one for each operation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW, SparseAdam

from hvcod.config import OptimizerOptions
from hvcod.errors import UsageError
from hvcod.training.sgd.layerwise import Lamb, Lars
from hvcod.training.sgd.light import light


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
    betas = options.beta1, options.beta2
    match options.algorithm:
        case "adagrad":
            start = options.initial_accumulator
            # For GPUs most versions of torch have none.
            fused = True if parameters[0].is_cpu else None
            return light(Adagrad)(groups, initial_accumulator_value=start, fused=fused)
        case "sgd":
            momentum, nesterov = options.momentum, options.momentum > 0
            return light(SGD)(groups, momentum=momentum, nesterov=nesterov, fused=True)
        case "lars":
            return light(Lars)(groups, options.trust, options.momentum)
        case "lamb":
            return light(Lamb)(groups, betas)
    return light(AdamW)(groups, betas=betas, fused=True)


def load(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Loads the state of an optimiser, which goes on as it was made: fused, if it is."""
    # States of earlier versions were not fused, and an optimiser takes that over with the rest.
    groups = [
        saved | {key: mine[key] for key in ("fused", "foreach") if key in mine}
        for saved, mine in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


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
            return light(Adagrad)(tables, initial_accumulator_value=start)
        case "adam":
            return light(SparseAdam)(tables, betas=(options.beta1, options.beta2))
    raise UsageError(
        f"--algorithm {options.algorithm}: embedding tables are updated by the rows of a batch, "
        "for which hvcod has adagrad and adam"
    )
