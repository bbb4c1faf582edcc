"""The costs of an arm: seconds and bytes that were measured, and bytes that are computed.

Bytes between groups are counted by each run: what a group writes and reads for teachers. A laptop
trains a group in one process, which has nobody to average with. So the bytes inside groups are
computed, as those that groups of so many workers would send for a ring allreduce of the gradients,
by equation 1 of docs/plan.md.

Seconds are those of the process. If it trained several groups in turn, or a batch of several
workers, machines side by side would share them, so they are also divided by the number of workers
that the process stood for. What machines lose by waiting for each other is not in them.
"""

from dataclasses import dataclass

from hvcod.cluster.plan.machine import allreduce_bytes
from hvcod.cluster.plan.model import ModelSize
from hvcod.config import TrainOptions


@dataclass(frozen=True)
class Cost:
    """The cost of a step of a run.

    Attributes:
        groups: Copies of the model.
        workers: Workers that each group stands for.
        inside: Bytes that each worker of a group sends to the others, to average. Computed.
        shared_by: Workers by which, side by side, the seconds of the process would be shared.
    """

    groups: int
    workers: int
    inside: float
    shared_by: int


def cost(options: TrainOptions, size: ModelSize, workers: int) -> Cost:
    """Computes the cost of a step of a run whose groups stand for so many workers each."""
    averages = options.local.sync_interval if options.sgd == "local" else 1
    return Cost(
        options.groups,
        workers,
        inside=allreduce_bytes(workers, size.gradients) / averages,
        shared_by=options.groups * workers if options.codistill.in_process else 1,
    )
