"""Gradients averaged over a group by Horovod, while the backward pass still computes others."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import horovod.torch as hvd
from torch import Tensor, nn

from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import Group
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

    def __init__(self, model: nn.Module, group: Group, updates: Updates) -> None:
        """Starts Horovod; all ranks leave with rank 0's weights. Collective over the trainers.

        The model's parameters are watched from now on.
        """
        start_horovod(group, next(model.parameters()).device)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        self.sent, self._tables = 0, updates.tables
        trained = [each for each in reversed(updates.dense.values()) if each.requires_grad]
        self._buckets = [
            Bucket(f"gradients {number}", parameters)
            for number, parameters in enumerate(in_buckets(trained))
        ]

    def begin(self) -> None:
        """Begins to send: the next backward pass is the last one of the step. Not collective."""
        for bucket in self._buckets:
            bucket.begin()

    def wait(self) -> None:
        """Returns when all gradients are means. Collective; after `Updates.complete`."""
        for bucket in self._buckets:
            bucket.send()
            self.sent += bucket.bytes
        self.sent += sum(map(_rows_bytes, self._tables.values()))
        pending = {
            name: hvd.sparse_allreduce_async(table.grad, name, hvd.Average)
            for name, table in self._tables.items()
        }
        for name, finish in pending.items():
            self._tables[name].grad = finish().coalesce()
        for bucket in self._buckets:
            bucket.wait()


class Bucket:
    """Parameters whose gradients travel in one message.

    Attributes:
        bytes: The size of the message.
    """

    def __init__(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """`name` is the same on all ranks, and another bucket has another one."""
        self._name, self._parameters = name, parameters
        self.bytes = sum(parameter.nbytes for parameter in parameters)
        self._missing, self._handle = -1, None
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def begin(self) -> None:
        """Sends the gradients once a backward pass has reached all parameters from now on."""
        self._missing, self._handle = len(self._parameters), None

    def send(self) -> None:
        """Sends the gradients now, unless they have been: some parameters were not reached."""
        self._missing = -1
        if self._handle is None:
            gradients = [parameter.grad for parameter in self._parameters]
            self._handle = hvd.grouped_allreduce_async_(gradients, name=self._name, op=hvd.Average)

    def wait(self) -> None:
        """Returns when the gradients are means."""
        hvd.synchronize(self._handle)

    def _arrived(self, parameter: Tensor) -> None:
        self._missing -= 1
        if self._missing == 0:
            self.send()


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
