"""Tensors averaged over the trainers of a group by Horovod, in place and always in the same way."""

from collections.abc import Sequence

import horovod.torch as hvd
import torch
from torch import Tensor, nn

from hvcod.groups.communicator import take_largest
from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import Group
from hvcod.training.sgd.allreduce import in_buckets


class Averaging:
    """Replaces tensors by their means over the group's trainers.

    Attributes:
        sent: Bytes that this rank has given to be averaged.
    """

    def __init__(self, model: nn.Module, group: Group) -> None:
        """Starts Horovod; all ranks leave with rank 0's weights. Collective over the trainers."""
        self.sent = 0
        self._comm = group.training_comm
        start_horovod(group, next(model.parameters()).device)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Returns when all tensors are means. Collective; with the same shapes on all ranks."""
        handles = [
            hvd.grouped_allreduce_async_(bucket, name=f"weights {number}", op=hvd.Average)
            for number, bucket in enumerate(in_buckets(tensors))
        ]
        self.sent += sum(tensor.nbytes for tensor in tensors)
        for handle in handles:
            hvd.synchronize(handle)

    def average_rows(self, tensors: Sequence[Tensor], touched: Sequence[Tensor | None]) -> None:
        """Does the same where only some rows may differ between the ranks: no others travel.

        Args:
            tensors: Those to be replaced by their means.
            touched: For each of them the rows that this rank has changed, uint8 [rows]; None: any.
        """
        rows = [None if mask is None else self._anyones(mask) for mask in touched]
        parts = [
            tensor if chosen is None else tensor.index_select(0, chosen)
            for tensor, chosen in zip(tensors, rows, strict=True)
        ]
        self.average(parts)
        for tensor, chosen, part in zip(tensors, rows, parts, strict=True):
            if chosen is not None:
                tensor.index_copy_(0, chosen, part)

    def _anyones(self, mask: Tensor) -> Tensor:
        """Returns the numbers of the rows that any rank has changed."""
        union = mask.cpu().numpy().copy()
        take_largest(self._comm, union)
        return torch.from_numpy(union).to(mask.device).nonzero()[:, 0]
