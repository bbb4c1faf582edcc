"""The options of ``hvcod plan``, in addition to those of ``hvcod train``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hvcod.config import option
from hvcod.sections import Section

TEACHER_SHARE = 0.24
"""Measured by ``bin/bench --only distillation_step``: the paper's model, one float32 teacher."""


@dataclass(frozen=True)
class PlanOptions:
    """The run to plan, and the speed of the machine."""

    SECTION: ClassVar[Section] = Section.PLAN

    ranks: int | None = option(None, "ranks that all groups share", minimum=1)
    groups: int | None = option(
        None,
        "show only this number of groups; default: every number that divides the ranks",
        minimum=1,
    )
    step_seconds: float | None = option(
        None,
        "seconds that a rank computes in a step, alone and without teachers (step_s of a run of "
        "one rank); above 0",
        minimum=0.0,
    )
    parameters: int | None = option(
        None, "parameters of the model; default: those of the task's model", minimum=1
    )
    teacher_share: float = option(
        TEACHER_SHARE, "what a teacher adds to a step, as a share of --step-seconds", minimum=0.0
    )
    doctor: Path | None = option(
        None, "output of `hvcod doctor --json`, which measures the four options that follow"
    )
    bandwidth: float | None = option(
        None,
        "bytes a second over the slowest link between neighbouring ranks of a group",
        minimum=1,
    )
    latency: float | None = option(
        None, "seconds of an allreduce of one number between two ranks", minimum=0.0
    )
    ranks_per_node: int = option(1, "ranks on a node, for --node-bandwidth", minimum=1)
    node_bandwidth: float | None = option(
        None,
        "bytes a second between ranks of a node, where a group fits into one; default: --bandwidth",
        minimum=1,
    )
    publish_bandwidth: float | None = option(
        None, "bytes a second at which a checkpoint is written and becomes visible", minimum=1
    )
    publish_to_visible: float | None = option(
        None,
        "seconds from a visible checkpoint until another group has read and verified it",
        minimum=0.0,
    )
