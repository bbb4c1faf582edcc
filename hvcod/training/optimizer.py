"""Synchronous SGD inside a group: Adam on gradients that Horovod averages, and its schedule."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions
from hvcod.errors import GroupFailedError

log = logging.getLogger("hvcod.training")

BUCKET_BYTES = 32 * 2**20
"""Gradients that travel in one message, so that the first travel while the last are computed."""

MOST_SKIPPED = 100
"""Steps in a row that may be skipped for a gradient that is no number."""


class Optimizer:
    """Adam, whose gradients are the mean over the group, clipped after the averaging.

    Attributes:
        skipped: Steps that were skipped, as their gradient was NaN or infinite.
    """

    def __init__(
        self, model: nn.Module, options: OptimizerOptions, steps: int, skip: bool = False
    ) -> None:
        """Collective over the group: all ranks leave with rank 0's weights.

        Args:
            model: What to optimise.
            options: Adam's and the schedule's.
            steps: Length of the schedule.
            skip: Whether to skip a step with a gradient that is NaN or infinite.
        """
        self._model, self._options, self._steps, self._skip = model, options, steps, skip
        betas = (options.beta1, options.beta2)
        adam = torch.optim.Adam(model.parameters(), lr=options.learning_rate, betas=betas)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        self._horovod = hvd.DistributedOptimizer(
            adam, named_parameters=model.named_parameters(), groups=_buckets(model)
        )
        self._done = self._in_a_row = 0
        self.skipped = 0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._horovod.param_groups[0]["lr"])

    def step(self, loss: Tensor) -> bool:
        """One step down the gradient of a loss, averaged over the group; whether it was made.

        Collective.

        Raises:
            GroupFailedError: The averaged gradient is NaN or infinite, and the step is not to be
                skipped, or too many in a row were. The weights are still good.
        """
        factor = schedule(self._done, self._steps, self._options)
        for part in self._horovod.param_groups:
            part["lr"] = self._options.learning_rate * factor
        self._horovod.zero_grad()
        loss.backward()
        self._horovod.synchronize()
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._options.clip or math.inf)
        self._done += 1
        # Averaging has brought a NaN of one rank to all of them: all decide alike.
        if not norm.isfinite():
            self._not_finite(float(norm))
            return False
        self._in_a_row = 0
        with self._horovod.skip_synchronize():
            self._horovod.step()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Adam's averages and what has been done, the same on all ranks."""
        return {
            "adam": self._horovod.state_dict(),
            "done": self._done,
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._horovod.load_state_dict(state["adam"])
        self._done, self.skipped = state["done"], state["skipped"]
        self._in_a_row = state["in_a_row"]

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


def _buckets(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters in the order in which their gradients come, in messages of a fixed size.

    Left alone, Horovod puts together what happens to be ready. Sums of three or more ranks then
    depend on it in their last bit, and a run could not be repeated.
    """
    buckets: list[list[nn.Parameter]] = [[]]
    size = 0
    for parameter in reversed([each for each in model.parameters() if each.requires_grad]):
        if buckets[-1] and size + parameter.nbytes > BUCKET_BYTES:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.nbytes
    return buckets


def schedule(step: int, steps: int, options: OptimizerOptions) -> float:
    """The factor of the learning rate at a step from 0: linear warm-up, then constant or decay."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    if options.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - options.warmup) / max(1, steps - options.warmup))
    return (
        1.0 - progress if options.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    )
