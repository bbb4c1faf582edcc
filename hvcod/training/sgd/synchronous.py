"""Synchronous SGD inside a group: updates from gradients that Horovod averages."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions
from hvcod.errors import GroupFailedError, UsageError
from hvcod.training.sgd.schedule import learning_rate, weight_decay

log = logging.getLogger("hvcod.training")

BUCKET_BYTES = 32 * 2**20
"""Gradients that travel in one message, so that the first travel while the last are computed."""

MOST_SKIPPED = 100
"""Steps in a row that may be skipped for a gradient that is no number."""


class Optimizer:
    """Adam, Adagrad or SGD on gradients that are the mean over the group, clipped afterwards.

    Embedding tables with sparse gradients (``nn.Embedding(sparse=True)``) are averaged and updated
    by the rows that occur in the group's batch; the others cost nothing.

    Attributes:
        skipped: Steps that were skipped, as their gradient was NaN or infinite.
        learning_rate: That of the last step.
    """

    def __init__(
        self,
        model: nn.Module,
        options: OptimizerOptions,
        steps: int,
        examples: int,
        nonfinite: str = "stop",
    ) -> None:
        """Collective over the group: all ranks leave with rank 0's weights.

        Args:
            model: What to optimise.
            options: The algorithm's and the schedule's.
            steps: Length of the schedule.
            examples: The group's batch.
            nonfinite: What to do with a gradient that is NaN or infinite: ``stop``, or ``skip`` it.

        Raises:
            UsageError: The algorithm cannot update a table by rows.
        """
        self._options, self._steps, self._examples = options, steps, examples
        self._skip = nonfinite == "skip"
        tables = _sparse_tables(model)
        self._rows = {name: table for name, table in model.named_parameters() if table in tables}
        dense = {name: p for name, p in model.named_parameters() if p not in tables}
        self._parameters = list(model.parameters())
        self._averaged = [each for each in dense.values() if each.requires_grad]
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        self._dense = hvd.DistributedOptimizer(
            _dense_optimizer(list(dense.values()), options),
            named_parameters=dense.items(),
            groups=_buckets(list(dense.values())),
        )
        self._sparse = _sparse_optimizer(list(self._rows.values()), options) if tables else None
        self._done = self._in_a_row = 0
        self.skipped = 0
        self.learning_rate = 0.0

    def step(self, loss: Tensor) -> bool:
        """One step down the gradient of a loss, averaged over the group; whether it was made.

        Collective.

        Raises:
            GroupFailedError: The averaged gradient is NaN or infinite, and the step is not to be
                skipped, or too many in a row were. The weights are still good.
        """
        self._set_rates()
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        self._complete()
        self._average_rows()
        self._dense.synchronize()
        norm = self._clip()
        self._done += 1
        # Averaging has brought a NaN of one rank to all of them: all decide alike.
        if not math.isfinite(norm):
            self._not_finite(norm)
            return False
        self._in_a_row = 0
        with self._dense.skip_synchronize():
            self._dense.step()
        if self._sparse is not None:
            self._sparse.step()
        return True

    def state_dict(self) -> dict[str, Any]:
        """The algorithm's averages and what has been done, the same on all ranks."""
        return {
            "dense": self._dense.state_dict(),
            "sparse": None if self._sparse is None else self._sparse.state_dict(),
            "done": self._done,
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._dense.load_state_dict(state["dense"])
        if self._sparse is not None:
            self._sparse.load_state_dict(state["sparse"])
        self._done, self.skipped = state["done"], state["skipped"]
        self._in_a_row = state["in_a_row"]

    def _set_rates(self) -> None:
        rate = learning_rate(self._done, self._steps, self._examples, self._options)
        decay = weight_decay(self._done, self._steps, self._options)
        self.learning_rate = rate
        for part in self._dense.param_groups:
            part["lr"] = rate
            part["weight_decay"] = decay if part["decays"] else 0.0
        for part in self._sparse.param_groups if self._sparse is not None else []:
            part["lr"] = rate

    def _complete(self) -> None:
        """Gives zeros as gradients where this step used no parameter; other ranks may have."""
        # Backwards, so that Horovod notices: it sends a message when all in it have come.
        unused = [each for each in self._averaged if each.grad is None]
        if unused:
            torch.autograd.backward(unused, [torch.zeros_like(each) for each in unused])

    def _average_rows(self) -> None:
        """Gathers the rows of sparse gradients from all ranks and averages those of one place."""
        pending = {
            name: hvd.sparse_allreduce_async(_rows_of(table), name, hvd.Average)
            for name, table in self._rows.items()
        }
        for name, finish in pending.items():
            self._rows[name].grad = finish().coalesce()

    def _clip(self) -> float:
        """Shortens a gradient that is too long; its norm before."""
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        values = [each.values() if each.is_sparse else each for each in gradients]
        norm = float(nn.utils.get_total_norm(values))
        if self._options.clip and norm > self._options.clip:
            for each in values:
                each.mul_(self._options.clip / (norm + 1e-6))
        return norm

    def _not_finite(self, norm: float) -> None:
        if not self._skip or self._in_a_row == MOST_SKIPPED:
            before = f", as in the {MOST_SKIPPED} steps before" if self._skip else ""
            skip = "" if self._skip else "go on with --nonfinite skip, or "
            raise GroupFailedError(
                f"the gradient is {norm} at step {self._done}{before}; {skip}start a new run with "
                "a lower --learning-rate or --clip"
            )
        self.skipped += 1
        self._in_a_row += 1
        log.warning("step %d skipped: its gradient is %s", self._done, norm)


def _sparse_tables(model: nn.Module) -> set[nn.Parameter]:
    embeddings = [each for each in model.modules() if isinstance(each, nn.Embedding)]
    return {cast(nn.Parameter, each.weight) for each in embeddings if each.sparse}


def _rows_of(table: nn.Parameter) -> Tensor:
    """The sparse gradient of a table; of no rows, if this rank has not used it in this step."""
    if table.grad is not None:
        return table.grad.coalesce()
    rows = table.new_empty((0, *table.shape[1:]))
    return torch.sparse_coo_tensor(torch.empty((1, 0), dtype=torch.int64), rows, table.shape)


def _dense_optimizer(
    parameters: Sequence[nn.Parameter], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """Biases and what normalises, with one dimension, do not decay (Goyal et al. 2017)."""
    groups: list[dict[str, Any]] = []
    for decays in (True, False):
        chosen = [each for each in parameters if (each.dim() > 1) is decays]
        if chosen:
            groups.append({"params": chosen, "decays": decays})
    rate = options.learning_rate
    match options.algorithm:
        case "adagrad":
            start = options.initial_accumulator
            return torch.optim.Adagrad(groups, lr=rate, initial_accumulator_value=start)
        case "sgd":
            nesterov = options.momentum > 0
            return torch.optim.SGD(groups, lr=rate, momentum=options.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, lr=rate, betas=(options.beta1, options.beta2))


def _sparse_optimizer(
    tables: Sequence[nn.Parameter], options: OptimizerOptions
) -> torch.optim.Optimizer:
    # The default, said aloud: torch warns of it once in every process.
    torch.sparse.check_sparse_tensor_invariants.disable()
    rate = options.learning_rate
    match options.algorithm:
        case "adagrad":
            start = options.initial_accumulator
            return torch.optim.Adagrad(tables, lr=rate, initial_accumulator_value=start)
        case "adam":
            betas = (options.beta1, options.beta2)
            return torch.optim.SparseAdam(tables, lr=rate, betas=betas)
    raise UsageError(
        f"--algorithm {options.algorithm}: embedding tables are updated by the rows of a batch, "
        "for which hvcod has adagrad and adam"
    )


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters in the order in which their gradients come, in messages of a fixed size.

    Left alone, Horovod puts together what happens to be ready. Sums of three or more ranks then
    depend on it in their last bit, and a run could not be repeated.
    """
    buckets: list[list[nn.Parameter]] = [[]]
    size = 0
    for parameter in reversed([each for each in parameters if each.requires_grad]):
        if buckets[-1] and size + parameter.nbytes > BUCKET_BYTES:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.nbytes
    return buckets
