"""The averages that an optimiser of torch keeps of its parameters' gradients."""

import torch
from torch import Tensor, nn

Averages = dict[str, dict[str, Tensor]]
"""{parameter: {name of an average in its optimiser: tensor of the parameter's shape}}."""

_UPDATES = "step"  # the name by which optimisers count their updates


def make_averages(optimizer: torch.optim.Optimizer, sparse: bool = False) -> None:
    """Makes an optimiser allocate its averages, by an update without a gradient."""
    for part in optimizer.param_groups:
        part["lr"] = 0.0
        for parameter in part["params"]:
            zeros = torch.zeros_like(parameter)
            parameter.grad = rows_gradient(zeros) if sparse else zeros
    optimizer.step()


def averages_of(
    optimizer: torch.optim.Optimizer | None, parameter: nn.Parameter
) -> dict[str, Tensor]:
    """Returns the averages of a parameter by name; none without an optimiser."""
    state = optimizer.state[parameter] if optimizer else {}
    return {n: each for n, each in state.items() if n != _UPDATES and isinstance(each, Tensor)}


def set_updates(optimizer: torch.optim.Optimizer, updates: int) -> None:
    """Sets the number of updates that an optimiser has made."""
    for state in optimizer.state.values():
        count = state.get(_UPDATES)
        if isinstance(count, Tensor):
            count.fill_(updates)
        elif count is not None:
            state[_UPDATES] = updates


def rows_gradient(values: Tensor) -> Tensor:
    """Returns values [rows, ...] as a sparse gradient of a table that has just these rows."""
    rows = torch.arange(len(values)).unsqueeze(0)
    return torch.sparse_coo_tensor(rows, values, values.shape, is_coalesced=True)
