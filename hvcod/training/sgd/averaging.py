"""Tensors averaged over the trainers of a group by Horovod, in place and always in the same way."""

from collections.abc import Sequence

import horovod.torch as hvd
from torch import Tensor, nn

from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import Group
from hvcod.training.sgd.allreduce import in_buckets


class Averaging:
    """Replaces tensors by their means over the group's trainers."""

    def __init__(self, model: nn.Module, group: Group) -> None:
        """Starts Horovod; all ranks leave with rank 0's weights. Collective over the trainers."""
        start_horovod(group, next(model.parameters()).device)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Returns when all tensors are means. Collective; with the same shapes on all ranks."""
        handles = [
            hvd.grouped_allreduce_async_(bucket, name=f"weights {number}", op=hvd.Average)
            for number, bucket in enumerate(in_buckets(tensors))
        ]
        for handle in handles:
            hvd.synchronize(handle)
