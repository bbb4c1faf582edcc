"""Updates of a model from gradients, however these came: rates, clipping, NaN and infinity."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hvcod.codistill.average import sparse_tables
from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.errors import DivergedError
from hvcod.spans import BACKWARD
from hvcod.tasks.batches import BatchWarmup
from hvcod.training.sgd.norms import square_of
from hvcod.training.sgd.optimizers import dense_optimizer, load, sparse_optimizer
from hvcod.training.sgd.scale import LossScale
from hvcod.training.sgd.schedule import learning_rate, weight_decay

log = logging.getLogger("hvcod.training")

MOST_SKIPPED = 100
"""Steps in a row that may be skipped because their gradient is NaN or infinite."""

Parameters = Mapping[str, nn.Parameter]
Optimizers = dict[str, torch.optim.Optimizer]

MakeOptimizers = Callable[[Parameters, Parameters, OptimizerOptions], Optimizers]
"""(dense parameters, embedding tables, options) -> optimisers by name."""


def whole(dense: Parameters, tables: Parameters, options: OptimizerOptions) -> Optimizers:
    """Returns the optimisers of a whole model, one for the tables if there are any.

    Raises:
        UsageError: The optimiser cannot update a table by rows.
    """
    optimizers = {"dense": dense_optimizer(list(dense.values()), options)}
    if tables:
        optimizers["sparse"] = sparse_optimizer(list(tables.values()), options)
    return optimizers


class Updates:
    """Applies the gradients of a model's parameters by an optimiser, clipped before.

    A step is `accumulate` for each part of a batch but the last, `begin`, `backward`,
    `complete`, what the base algorithm does with the gradients, and `apply`; or `check`, if the
    algorithm applies them itself. Embedding tables with sparse gradients
    (``nn.Embedding(sparse=True)``) are updated by the rows that occur in a batch; the other rows
    cost nothing.

    Attributes:
        dense: The parameters with dense gradients, by name.
        tables: The embedding tables with sparse gradients, by name.
        learning_rate: That of the last step.
        done: Steps made, with those that were skipped; the rates go by it.
        skipped: Steps that were skipped, as their gradient was NaN or infinite.
        scale: The scale of the loss with ``--precision fp16``; steps left out for it do not count
            as skipped.
        measures: Whether squared norms of the gradients are taken in the step to come.
        own: Those of the gradients of less than the group's batch: this rank's, which the base
            algorithm notes before they are averaged, or those of two halves of its batch.
    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainOptions,
        examples: int,
        optimizers: MakeOptimizers = whole,
    ) -> None:
        """
        Args:
            model: On its device.
            options: Of the optimiser and its schedule.
            examples: The whole batch behind an update, for linear scaling of the learning rate.
            optimizers: Makes the optimisers of the parameters.

        Raises:
            UsageError: The optimiser cannot update a table by rows.
        """
        self._options, self._steps, self._examples = options.optimizer, options.steps, examples
        self._warmup = BatchWarmup(options.batch_warmup)
        self._skip = options.nonfinite == "skip"
        tables = sparse_tables(model)
        named = list(model.named_parameters())
        self.dense = {name: parameter for name, parameter in named if parameter not in tables}
        self.tables = {name: parameter for name, parameter in named if parameter in tables}
        self._parameters = [parameter for _, parameter in named]
        self._optimizers = optimizers(self.dense, self.tables, options.optimizer)
        self.done = self.skipped = self._in_a_row = 0
        self._accumulated = False
        self.learning_rate = 0.0
        self._applied = False
        self.scale = LossScale() if options.precision == "fp16" else None
        self._factor = 1
        self.measures, self.own = False, list[Tensor]()
        self._mean: Tensor | None = None
        self._aside: list[Tensor | None] | None = None
        self._until_half = 0

    @property
    def batches_are_whole(self) -> bool:
        """True if the step to come learns from a whole batch, as ``--batch-warmup`` is over."""
        return self._warmup.part(self.done).count == 1

    def measure(self, halves_of: int = 0) -> None:
        """Takes squared norms in the step to come, which changes no gradient.

        Of two halves of its batch, if that is learned in so many parts, an even number.
        """
        self.measures, self.own, self._until_half = True, [], halves_of // 2

    def squares(self) -> tuple[float, float, int]:
        """Returns the squared norms of the step that was measured, without the loss's scale.

        Returns:
            The mean of those of the gradients of `pieces` equal parts of this rank's batch, that of
            the group's gradient before it was clipped, and `pieces`.
        """
        assert self._mean is not None
        # A piece of two has half of the weight in the sum of gradients.
        pieces, scale = len(self.own), self._factor**2
        own = pieces * float(torch.stack(self.own).sum()) / scale
        return own, float(self._mean) / scale, pieces

    def accumulate(self, loss: Tensor) -> None:
        """Adds the gradients of a loss to those of the step to come, which none begins with."""
        if not self._accumulated:
            self._clear()
        self.backward(loss)
        self._accumulated = True
        if self._until_half:
            self._until_half -= 1
            if not self._until_half:
                self._set_aside()

    def begin(self) -> None:
        """Sets the rates of the next step and clears the gradients, but for accumulated ones."""
        examples = self._examples / self._warmup.part(self.done).count
        self.learning_rate = learning_rate(self.done, self._steps, examples, self._options)
        decay = weight_decay(self.done, self._steps, self._options)
        for part in (part for each in self._optimizers.values() for part in each.param_groups):
            part["lr"] = self.learning_rate
            if "decays" in part:
                part["weight_decay"] = decay if part["decays"] else 0.0
        if not self._accumulated:
            self._clear()
        self._accumulated, self._factor = False, 1

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a loss, which are scaled until `check` if there is a scale."""
        if self.scale is not None:
            self._factor = self.scale.value
            loss = loss * self._factor
        with BACKWARD:
            loss.backward()

    def complete(self) -> None:
        """Gives a gradient of zero to each parameter that no backward pass has reached."""
        if self._aside is not None:
            self._join(self._aside)
        for parameter in self.dense.values():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for table in self.tables.values():
            table.grad = _rows(table)

    def apply(self) -> bool:
        """Updates the model from its gradients, once clipped; returns False if it is left alone.

        Raises what `check` does.
        """
        self._applied = self.check()
        for optimizer in self._optimizers.values() if self._applied else ():
            optimizer.step()
        return self._applied

    def changed_rows(self) -> dict[str, Tensor]:
        """Returns the rows of each table that the last `apply` has changed, each once, by name."""
        none = torch.empty(0, dtype=torch.int64)
        return {
            name: none.to(table.device)
            if not self._applied or table.grad is None
            else table.grad.coalesce().indices()[0]
            for name, table in self.tables.items()
        }

    def check(self) -> bool:
        """Clips the gradients and counts the step; returns False if they are not to be applied.

        Raises:
            DivergedError: The gradient is NaN or infinite, and the step is not to be skipped, or
                too many in a row were. The weights are still good.
        """
        if self.measures:
            self._mean, self.measures = square_of(self._gradients()), False
        norm = self._clip()
        self.done += 1
        usable = math.isfinite(norm)
        if usable:
            self._in_a_row = 0
        if not (usable if self.scale is None else self.scale.settle(norm)):
            self._not_finite(norm)
        return usable

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimiser's averages and the counters."""
        optimizers = {name: each.state_dict() for name, each in self._optimizers.items()}
        return optimizers | self.counters

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        for name, optimizer in self._optimizers.items():
            load(optimizer, state[name])
        self.counters = state

    @property
    def counters(self) -> dict[str, Any]:
        """Steps done, steps skipped, and how many of the last ones were skipped in a row."""
        counters = {"done": self.done, "skipped": self.skipped, "in_a_row": self._in_a_row}
        return counters if self.scale is None else counters | {"scale": self.scale.state_dict()}

    @counters.setter
    def counters(self, state: Mapping[str, Any]) -> None:
        self.done, self.skipped = state["done"], state["skipped"]
        self._in_a_row = state["in_a_row"]
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])

    def figures(self) -> dict[str, object]:
        """Returns the learning rate; the scale of the loss, and steps left out for it, if any."""
        rate: dict[str, object] = {"learning_rate": self.learning_rate}
        if self.scale is None:
            return rate
        return rate | {"loss_scale": self.scale.value, "overflows": self.scale.overflows}

    def _clear(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _gradients(self) -> list[Tensor]:
        return [each.grad for each in self._parameters if each.grad is not None]

    def _set_aside(self) -> None:
        """Puts away the gradients of the first half of a batch."""
        self.own.append(square_of(self._gradients()))
        self._aside = [parameter.grad for parameter in self._parameters]
        self._clear()

    def _join(self, first: Sequence[Tensor | None]) -> None:
        """Adds the gradients of the second half to those of the first, as a backward pass does."""
        self.own.append(square_of(self._gradients()))
        self._aside = None
        for parameter, before in zip(self._parameters, first, strict=True):
            if before is not None:
                parameter.grad = before if parameter.grad is None else before.add_(parameter.grad)

    def _clip(self) -> float:
        """Undoes the scale, and shortens the gradient to the largest norm allowed.

        Returns its norm in between.
        """
        values = [each.values() if each.is_sparse else each for each in self._gradients()]
        norm = float(nn.utils.get_total_norm(values)) / self._factor
        shorter = 1 / self._factor
        if self._options.clip and norm > self._options.clip:
            shorter *= self._options.clip / (norm + 1e-6)
        if shorter != 1 and math.isfinite(norm):
            for each in values:
                each.mul_(shorter)
        return norm

    def _not_finite(self, norm: float) -> None:
        if not self._skip or self._in_a_row == MOST_SKIPPED:
            before = f", as in the {MOST_SKIPPED} steps before" if self._skip else ""
            skip = "" if self._skip else "go on with --nonfinite skip, or "
            raise DivergedError(
                f"the gradient is {norm} at step {self.done}{before}; {skip}start a new run with "
                "a lower --learning-rate or --clip"
            )
        self.skipped += 1
        self._in_a_row += 1
        log.warning("step %d skipped: its gradient is %s", self.done, norm)


def _rows(table: nn.Parameter) -> Tensor:
    """Returns the gradient of a table, one entry a row; no rows if this step did not use it."""
    if table.grad is not None:
        return table.grad.coalesce()
    rows = table.new_empty((0, *table.shape[1:]))
    none = torch.sparse_coo_tensor(torch.empty((1, 0), dtype=torch.int64), rows, table.shape)
    return none.coalesce()
