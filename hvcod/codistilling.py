"""The options of codistillation, a section of `hvcod.config`."""

from dataclasses import dataclass
from typing import ClassVar

from hvcod.registry import EXCHANGES, LOSSES, TOPOLOGIES
from hvcod.schema import option
from hvcod.sections import Section
from hvcod.values import Duration


@dataclass(frozen=True)
class CodistillOptions:
    """Options of codistillation between the groups (paper, section 2)."""

    SECTION: ClassVar[Section] = Section.CODISTILLATION

    exchange_interval: int = option(
        50, "steps between publications, and between looks for teachers", minimum=1, common=True
    )
    burn_in: int = option(1000, "steps before the distillation term is switched on", minimum=0)
    distill_weight: float = option(1.0, "weight of the distillation term in the loss", minimum=0.0)
    distill_ramp: int = option(
        0, "steps after the burn-in over which that weight grows linearly from zero", minimum=0
    )
    distill_decay: float = option(
        0.0,
        "last share of --steps over which that weight falls linearly to zero, such as 0.2",
        minimum=0.0,
        maximum=1.0,
    )
    distill_loss: str = option(
        "cross-entropy",
        "loss that pulls a student towards its teachers: cross-entropy or kl of the mean of their "
        "predictive distributions, or mse of the mean of their logits",
        choices=LOSSES,
    )
    temperature: float = option(
        1.0,
        "divides the logits of student and teachers in the distillation term, which is multiplied "
        "by its square",
        minimum=0.01,
        maximum=1000.0,
    )
    topology: str = option("full", "who teaches whom", choices=TOPOLOGIES, common=True)
    exchange: str = option(
        "files",
        "how groups exchange weights: by published files; by files from which --teacher-ranks "
        "predict for the others; or in the memory of one process that trains all groups in turn, "
        "without MPI",
        choices=EXCHANGES,
        common=True,
    )
    teacher_ranks: int = option(
        0,
        "ranks of each group, its last ones, that only compute what its teachers predict for the "
        "batches to come (--exchange predictions); the others train",
        minimum=0,
        common=True,
        result=False,
    )
    teacher_sample: int | None = option(
        None,
        "with --exchange predictions: send a sample of so many classes of each prediction, without "
        "bias, instead of all of them",
        minimum=1,
    )
    staleness: str | None = option(
        None,
        "age of the teachers: freshest takes the newest there are and never waits; exact waits for "
        "those of one interval ago, so that a run can be repeated bit for bit; default: freshest, "
        "with --exchange in-process exact",
        choices=("freshest", "exact"),
        common=True,
    )
    teacher_wait: Duration = option(
        Duration(600),
        "longest wait for a teacher with --staleness exact, such as 30s or 10m",
        minimum=0,
        result=False,
    )
    max_staleness: int | None = option(
        None, "a teacher more steps behind than this is left out until it catches up", minimum=1
    )
    teacher_limit: float | None = option(
        None,
        "a teacher whose task loss is more than this many times the student's is left out until "
        "fresher weights come, such as 2",
        minimum=1.0,
        result=False,  # of a run whose teachers are good
    )
    publish_average: float | None = option(
        None,
        "publish an exponential moving average of the weights with this decay, such as 0.999, not "
        "the last weights",
        minimum=0.01,
        maximum=0.999999,
    )
    teach_self: bool = option(
        False, "the average of --publish-average also teaches the group itself: a mean teacher"
    )
    teacher_precision: str = option(
        "fp32",
        "how teachers are held and run: fp32; bf16 or fp16, half the memory, fast where the "
        "processor multiplies such numbers; int8, a quarter of the memory, on CPUs only",
        choices=("fp32", "bf16", "fp16", "int8"),
        result=False,  # of a run that could have had better teachers
    )
    keep_published: int = option(
        3,
        "whole published checkpoints to keep, with the changes upon them (with --staleness exact: "
        "all)",
        minimum=2,
        result=False,
    )
    whole_every: int = option(
        20,
        "of the publications of a model with embedding tables, one in so many is whole; the others "
        "hold the rows that have changed",
        minimum=1,
        result=False,
    )

    def __post_init__(self) -> None:
        if self.staleness is None:
            object.__setattr__(self, "staleness", "exact" if self.in_process else "freshest")

    @property
    def in_process(self) -> bool:
        """True if one process trains all groups."""
        return self.exchange == "in-process"
