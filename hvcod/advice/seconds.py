"""The seconds of a step of a run, for other numbers of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.cluster.plan.machine import machine
from hvcod.cluster.plan.model import of_training
from hvcod.cluster.plan.options import TEACHER_SHARE, PlanOptions
from hvcod.cluster.plan.plan import Training, plan
from hvcod.codistill.topology import teachers_of
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, reason_of
from hvcod.folders import group_folder
from hvcod.training.status.tail import read_tail

_COMPUTING = ("data", "forward", "backward", "update", "other")
_SENDING = ("allreduce", "agreement")


@dataclass(frozen=True)
class StepSeconds:
    """Mean seconds of a step of a run on a rank, by its last lines of metrics.

    Attributes:
        computing: Of the model's own passes and update.
        sending: Of waiting for messages inside the group.
        teacher_share: What a teacher adds, as a share of `computing`.
        is_measured: Whether that was measured; otherwise it is the plan's usual value.
    """

    computing: float
    sending: float
    teacher_share: float
    is_measured: bool


def seconds_of(run: Path, groups: Sequence[int]) -> StepSeconds | None:
    """Returns the seconds of a step of a run; None if no group has logged them.

    Raises:
        HvcodError: The metrics cannot be read.
    """
    found: list[Mapping[str, float]] = []
    teachers: list[int] = []
    for group in groups:
        path = group_folder(run, group) / "metrics.jsonl"
        try:
            tail = read_tail(path)
        except FileNotFoundError:
            continue
        except (OSError, HvcodError) as error:
            raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
        if times := tail.times:
            found.append(times)
            teachers.append(len(tail.recent[0].get("teachers") or {}))
    if not found:
        return None
    computing, sending, taught = (
        sum(times.get(part, 0.0) for times in found for part in parts) / len(found)
        for parts in (_COMPUTING, _SENDING, ("teachers",))
    )
    each = sum(teachers) / len(teachers)
    share = taught / each / computing if each and computing else TEACHER_SHARE
    return StepSeconds(computing, sending, share, bool(each and computing))


def step_seconds(
    seconds: StepSeconds,
    ranks: int,
    groups: int,
    options: TrainOptions,
    doctor: Path | None,
    batch_size: int,
) -> float:
    """Returns the seconds of a step of so many groups that share some ranks, by `hvcod plan`.

    Without the doctor's measurements messages take as long as in the run, however many ranks there
    are, and publishing takes nothing.

    Raises:
        UsageError: The doctor's file cannot be read, or lacks a value.
    """
    topology = options.codistill.topology
    if doctor is None:
        teachers = len(teachers_of(0, groups, topology)) if groups > 1 else 0
        taught = teachers * seconds.teacher_share * seconds.computing
        return seconds.computing + seconds.sending + taught
    wanted = Training(
        ranks=ranks,
        batch_size=batch_size,
        interval=options.codistill.exchange_interval,
        topology=topology,
        step_s=seconds.computing,
        teacher_share=seconds.teacher_share,
    )
    network, files = machine(PlanOptions(doctor=doctor))
    (row,) = plan(wanted, of_training(options), network, files, groups)
    return row.step_s
