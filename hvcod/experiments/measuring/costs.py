"""The costs of an arm: seconds that were measured, bytes that are computed.

A laptop trains all groups of a run in one process, so nothing travels. The bytes are those that the
same run would exchange as groups of so many workers, by the equations of docs/plan.md: inside a
group those that a worker sends for an allreduce of the gradients, between groups those that a group
writes and reads for teachers.

Seconds are those of the process. If it trained several groups in turn, or a batch of several
workers, machines side by side would share them, so they are also divided by the number of workers
that the process stood for. What machines lose by waiting for each other is not in them.
"""

from dataclasses import dataclass

from hvcod.cluster.plan.machine import allreduce_bytes
from hvcod.cluster.plan.model import ModelSize
from hvcod.codistill.topology import teachers_of
from hvcod.config import TrainOptions


@dataclass(frozen=True)
class Cost:
    """The cost of a step of a run, after the burn-in.

    Attributes:
        groups: Copies of the model.
        workers: Workers that each group stands for.
        inside: Bytes that each worker of a group sends to the others, to average. Computed.
        between: Bytes that a group writes and reads, for teachers. Computed.
        shared_by: Workers by which, side by side, the seconds of the process would be shared.
    """

    groups: int
    workers: int
    inside: float
    between: float
    shared_by: int

    @property
    def bytes_a_step(self) -> float:
        """Bytes that all workers of all groups exchange in a step."""
        return self.groups * (self.workers * self.inside + self.between)


def cost(options: TrainOptions, size: ModelSize, workers: int) -> Cost:
    """Computes the cost of a step of a run whose groups stand for so many workers each."""
    interval, groups = options.codistill.exchange_interval, options.groups
    teachers = len(teachers_of(0, groups, options.codistill.topology))
    teaches = teachers and options.codistill.burn_in < options.steps
    averages = options.local.sync_interval if options.sgd == "local" else 1
    return Cost(
        groups,
        workers,
        inside=allreduce_bytes(workers, size.gradients) / averages,
        between=size.published * (1 + teachers) / interval if teaches else 0.0,
        shared_by=groups * workers if options.codistill.in_process else 1,
    )
