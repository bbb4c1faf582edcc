"""Gradients averaged over a group by Horovod, while the backward pass still computes others."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import Group
from hvcod.training.sgd.buckets import (
    HALVES,
    Bucket,
    HalvedBucket,
    bytes_of_rows,
    send_rows,
    square_of_rows,
)
from hvcod.training.sgd.updates import Updates

TensorKind = TypeVar("TensorKind", bound=Tensor)

BUCKET_BYTES = 32 * 2**20
"""Tensors that travel in one message, so that the first travel while the last are computed."""


class Allreduce:
    """Replaces the gradients of a step by their means over the group's trainers.

    A message of gradients leaves as soon as the last backward pass of the step has computed them.
    Of embedding tables only the rows travel that occur in the group's batch.

    Attributes:
        sent: Bytes of gradients that this rank has given to be averaged.
    """

    def __init__(
        self, model: nn.Module, group: Group, updates: Updates, compress: str = "none"
    ) -> None:
        """Starts Horovod; all ranks leave with rank 0's weights. Collective over the trainers.

        The model's parameters are watched from now on. `compress`: see ``--compress``.
        """
        start_horovod(group, next(model.parameters()).device)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        self.sent, self._updates, self._half = 0, updates, HALVES.get(compress)
        trained = [each for each in reversed(updates.dense.values()) if each.requires_grad]
        self._buckets = [
            self._bucket(f"gradients {number}", parameters)
            for number, parameters in enumerate(
                in_buckets(trained, BUCKET_BYTES * (1 if self._half is None else 2))
            )
        ]

    def begin(self) -> None:
        """Begins to send: the next backward pass is the last one of the step. Not collective."""
        for bucket in self._buckets:
            bucket.begin(self._updates.measures)

    def wait(self) -> None:
        """Returns when all gradients are means. Collective; after `Updates.complete`."""
        for bucket in self._buckets:
            bucket.send()
            self.sent += bucket.bytes
        tables = self._updates.tables
        if self._updates.measures:
            self._updates.own = [self._square(tables.values())]
        pending = {
            table: send_rows(name, table.grad, self._half)
            for name, table in tables.items()
            if table.grad is not None
        }
        for bucket in self._buckets:
            bucket.pass_on()
        for table, mean in pending.items():
            assert table.grad is not None
            self.sent += bytes_of_rows(table.grad, self._half)
            table.grad = mean()
        for bucket in self._buckets:
            bucket.wait()

    def _square(self, tables: Iterable[nn.Parameter]) -> Tensor:
        """Returns the squared norm of this rank's gradients as they were sent."""
        rows = [square_of_rows(each.grad, self._half) for each in tables if each.grad is not None]
        return torch.stack([*(bucket.square for bucket in self._buckets), *rows]).sum()

    def _bucket(self, name: str, parameters: Sequence[nn.Parameter]) -> Bucket:
        if self._half is None:
            return Bucket(name, parameters)
        return HalvedBucket(name, parameters, self._half)


def in_buckets(tensors: Iterable[TensorKind], most: int = BUCKET_BYTES) -> list[list[TensorKind]]:
    """Returns tensors in their order, in messages of at most so many bytes.

    Left alone, Horovod puts together what happens to be ready. Sums of three or more ranks then
    depend on it in their last bit, and a run could not be repeated.
    """
    buckets: list[list[TensorKind]] = [[]]
    for tensor in tensors:
        size = sum(each.nbytes for each in buckets[-1])
        if buckets[-1] and size + tensor.nbytes > most:
            buckets.append([])
        buckets[-1].append(tensor)
    return buckets
