"""One launch of a training: from options to the summaries of its groups."""

import logging
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, Self

from hvcod.config import TrainOptions
from hvcod.errors import PREEMPTED
from hvcod.groups.communicator import Communicator
from hvcod.groups.device import choose_device
from hvcod.groups.split import split
from hvcod.groups.world import NodeShare, node_share, wait_quietly, world
from hvcod.tasks import load_task
from hvcod.terminal import LogLines
from hvcod.training.finished.teachers import finished_teachers
from hvcod.training.loop import train
from hvcod.training.run.data import join_data
from hvcod.training.run.directory import open_run
from hvcod.training.run.group_options import of_this_group
from hvcod.training.run.resume import per_rank, shared_out
from hvcod.training.run.stop_file import watched
from hvcod.training.signals import StopSignals


@dataclass(frozen=True)
class Team:
    """The ranks that train together: all of the launch, or some."""

    ranks: Communicator
    share: NodeShare
    signals: StopSignals

    @classmethod
    def of_all(cls, signals: StopSignals | None = None) -> Self:
        """Returns the team of all ranks of the launch. Collective over them."""
        signals, everyone = signals or StopSignals(), world()
        return cls(everyone, node_share(everyone), signals)


def launch(options: TrainOptions, team: Team) -> list[dict[str, Any]]:
    """Runs a training; returns the summaries of its groups in this launch. Collective."""
    everyone = team.ranks
    group = split(everyone, options.groups, options.group, team.share)
    options = per_rank(options, group.trainers)
    level = logging.INFO if group.is_root else logging.ERROR
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines(f"[group {group.index}] %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    with closing(open_run(options, group, everyone)) as run:
        options = shared_out(options, group.trainers, run.examples)
        options = of_this_group(options, run.directory, group)
        device = choose_device(group, options.device)
        task = load_task(options.task)(options, group)
        run = join_data(run, task, everyone)
        fixed = finished_teachers(task, run, device)
        with watched(run.directory, team.signals) if group.is_root else nullcontext():
            summary = train(task, run, device, team.signals, fixed)
        summary["reference"] = dict(task.reference())
    # A group that has finished leaves its cores to the others.
    wait_quietly(everyone)
    gathered = everyone.allgather(summary if group.is_root else None)
    return [shown for shown in gathered if shown is not None]


def exit_code(summaries: Sequence[dict[str, Any]]) -> int:
    """Returns the exit code of a launch: 75 if a group is to go on, 1 if one failed, or else 0."""
    ends = {shown["ended"] for shown in summaries}
    return PREEMPTED if "preempted" in ends else 1 if "failed" in ends else 0
