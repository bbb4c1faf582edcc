"""Gradients that travel together: whole, or in half precision (``--compress``)."""

from collections.abc import Callable, Sequence
from typing import Any

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.training.sgd.norms import square_of

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""The types in which gradients travel, by the names of ``--compress``."""

_CARRIER = torch.float16
"""Horovod knows no bf16; where nothing is computed on the way, its bits can travel as another."""


class Bucket:
    """Parameters whose gradients travel in one message, and come back as means.

    Attributes:
        bytes: What this rank gives to be averaged in a step.
        square: The squared norm of what it gave in the last step, if that was measured.
    """

    def __init__(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """`name` is the same on all ranks, and another bucket has another one."""
        self._name, self._parameters = name, parameters
        self.bytes = sum(parameter.nbytes for parameter in parameters)
        self._missing, self._handle = -1, None
        self._measures, self.square = False, torch.zeros((), dtype=torch.float64)
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def begin(self, measures: bool = False) -> None:
        """Sends the gradients once a backward pass has reached all parameters from now on."""
        self._missing, self._handle, self._measures = len(self._parameters), None, measures

    def send(self) -> None:
        """Sends the gradients now, unless they have been: some parameters were not reached."""
        self._missing = -1
        if self._handle is None:
            self._handle = self._sent()

    def pass_on(self) -> None:
        """Sends what follows on the first message, if anything does."""

    def wait(self) -> None:
        """Returns when the gradients are means."""
        hvd.synchronize(self._handle)

    def _sent(self) -> Any:
        gradients = self._gradients()
        if self._measures:
            self.square = square_of(gradients)
        return hvd.grouped_allreduce_async_(gradients, name=self._name, op=hvd.Average)

    def _gradients(self) -> list[Tensor]:
        return [each.grad for each in self._parameters if each.grad is not None]

    def _arrived(self, parameter: Tensor) -> None:
        self._missing -= 1
        if self._missing == 0:
            self.send()


class HalvedBucket(Bucket):
    """Gradients that travel in half precision, and are summed in single precision.

    Each rank sends each other one a share of its gradients, sums the share that is its own, and
    sends the mean to all: as many bytes as an allreduce of halves. A gradient is rounded twice,
    however many ranks there are, and no sum overflows; a gradient that is too large for fp16
    becomes infinite, on all ranks alike.
    """

    def __init__(self, name: str, parameters: Sequence[nn.Parameter], half: torch.dtype) -> None:
        super().__init__(name, parameters)
        self._total = total = sum(parameter.numel() for parameter in parameters)
        self._ranks = hvd.size()
        device = parameters[0].device
        self._flat = torch.zeros(-(-total // self._ranks) * self._ranks, dtype=half, device=device)
        self._pieces = self._cut(self._flat)
        self.bytes = self._flat.nbytes

    def pass_on(self) -> None:
        """Sends the means of this rank's share."""
        shares, _ = hvd.synchronize(self._handle)
        shares = shares.view(self._flat.dtype).view(self._ranks, -1)
        mean = shares.mean(0, dtype=torch.float32).to(self._flat.dtype)
        self._handle = hvd.allgather_async(mean.view(_CARRIER), name=f"{self._name} means")

    def wait(self) -> None:
        """Returns when the gradients are means."""
        means = hvd.synchronize(self._handle).view(self._flat.dtype)
        torch._foreach_copy_(self._gradients(), self._cut(means))

    def _cut(self, flat: Tensor) -> list[Tensor]:
        """Returns the part of each parameter, in its shape; views."""
        pieces = flat[: self._total].split([each.numel() for each in self._parameters])
        pairs = zip(pieces, self._parameters, strict=True)
        return [piece.view(parameter.shape) for piece, parameter in pairs]

    def _sent(self) -> Any:
        torch._foreach_copy_(self._pieces, self._gradients())
        if self._measures:
            self.square = square_of([self._flat])
        return hvd.alltoall_async(self._flat.view(_CARRIER), name=self._name)


def send_rows(name: str, gradient: Tensor, half: torch.dtype | None) -> Callable[[], Tensor]:
    """Sends the rows of a table's gradient; returns what waits for the mean and returns it.

    `half`: the type in which they travel; None: their own. Collective.
    """
    rows = gradient.indices()[0].contiguous()
    values = gradient.values() if half is None else gradient.values().to(half).view(_CARRIER)
    pending = hvd.allgather_async(rows, name=f"{name} rows"), hvd.allgather_async(values, name=name)

    def mean() -> Tensor:
        everyones, values = (hvd.synchronize(handle) for handle in pending)
        if half is not None:
            values = values.view(half).to(gradient.dtype)
        values = values / hvd.size()
        return torch.sparse_coo_tensor(everyones[None], values, gradient.shape).coalesce()

    return mean


def square_of_rows(gradient: Tensor, half: torch.dtype | None) -> Tensor:
    """Returns the squared norm of what `send_rows` gives to be averaged."""
    values = gradient.values()
    return square_of([values if half is None else values.to(half)])


def bytes_of_rows(gradient: Tensor, half: torch.dtype | None) -> int:
    """Returns the bytes that `send_rows` gives to be averaged."""
    values = gradient.values()
    size = values.nbytes if half is None else values.numel() * half.itemsize
    return int(gradient.indices().nbytes + size)
