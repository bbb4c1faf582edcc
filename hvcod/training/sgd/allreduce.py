"""Gradients averaged over a group by Horovod, while the backward pass still computes others."""

from collections.abc import Iterable
from typing import TypeVar

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import Group
from hvcod.training.sgd.updates import Updates

TensorKind = TypeVar("TensorKind", bound=Tensor)

BUCKET_BYTES = 32 * 2**20
"""Tensors that travel in one message, so that the first travel while the last are computed."""


class Allreduce:
    """Replaces the gradients of each backward pass by their means over the group's trainers.

    Of embedding tables only the rows travel that occur in the group's batch.

    Attributes:
        sent: Bytes of gradients that this rank has given to be averaged.
    """

    def __init__(self, model: nn.Module, group: Group, updates: Updates) -> None:
        """Starts Horovod; all ranks leave with rank 0's weights. Collective over the trainers.

        The model's parameters are watched from now on.
        """
        start_horovod(group, next(model.parameters()).device)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        self.sent = 0
        self._tables = updates.tables
        dense = updates.dense
        # Only the hooks of this optimiser are used: it sends gradients, and updates nothing.
        trained = [each for each in reversed(dense.values()) if each.requires_grad]
        self._dense_bytes = sum(each.nbytes for each in trained)
        self._hooks = hvd.DistributedOptimizer(
            torch.optim.SGD(dense.values(), lr=0.0),
            named_parameters=dense.items(),
            groups=in_buckets(trained),
        )

    def wait(self) -> None:
        """Returns when all gradients are means. Collective; after `Updates.complete`."""
        self.sent += self._dense_bytes + sum(map(_rows_bytes, self._tables.values()))
        pending = {
            name: hvd.sparse_allreduce_async(table.grad, name, hvd.Average)
            for name, table in self._tables.items()
        }
        for name, finish in pending.items():
            self._tables[name].grad = finish().coalesce()
        self._hooks.synchronize()


def _rows_bytes(table: nn.Parameter) -> int:
    """Returns the bytes of a table's gradient: the rows that this rank's batch used."""
    gradient = table.grad
    return 0 if gradient is None else gradient.indices().nbytes + gradient.values().nbytes


def in_buckets(tensors: Iterable[TensorKind]) -> list[list[TensorKind]]:
    """Returns tensors in their order, in messages of a fixed size.

    Left alone, Horovod puts together what happens to be ready. Sums of three or more ranks then
    depend on it in their last bit, and a run could not be repeated.
    """
    buckets: list[list[TensorKind]] = [[]]
    for tensor in tensors:
        size = sum(each.nbytes for each in buckets[-1])
        if buckets[-1] and size + tensor.nbytes > BUCKET_BYTES:
            buckets.append([])
        buckets[-1].append(tensor)
    return buckets
