"""One launch of a training: from options to the summaries of its groups."""

import itertools
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from hvcod.codistill.teachers.base import Teacher
from hvcod.config import TrainOptions
from hvcod.errors import PREEMPTED, UsageError
from hvcod.groups.communicator import Communicator
from hvcod.groups.device import choose_device
from hvcod.groups.pace import Pace
from hvcod.groups.split import Group, in_one_process, split
from hvcod.groups.world import NodeShare, node_share, on_rank_zero, wait_quietly, world
from hvcod.registry import BASE_ALGORITHMS
from hvcod.tasks import load_task
from hvcod.terminal import LogLines
from hvcod.training.finished.teachers import finished_teachers
from hvcod.training.loop import Part, train
from hvcod.training.precision import advise
from hvcod.training.record.trackers.base import check_trackers
from hvcod.training.run.data import join_data
from hvcod.training.run.directory import Run, of_another_group, open_run
from hvcod.training.run.group_options import of_this_group
from hvcod.training.run.resume import per_rank, shared_out
from hvcod.training.run.stop_file import watched
from hvcod.training.signals import StopSignals
from hvcod.training.turns import whose


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
    """Runs a training; returns the summaries of its groups in this launch. Collective.

    If a summary names silent teacher ranks, MPI must not be ended as usual: see `abort.leave`.
    """
    everyone = team.ranks
    folder = options.run_dir or Path()
    on_rank_zero(everyone, lambda: check_trackers(options.tracker.names, folder))
    group, *others = groups = _groups_here(options, team)
    # All trainers of the launch, if there are others, which may fall silent.
    colleagues = everyone.Split(group.role == "teacher", everyone.rank) if group.whole else None
    options = per_rank(options, group.trainers)
    _show_log(groups)
    with ExitStack() as stack:
        run = stack.enter_context(closing(open_run(options, group, everyone)))
        runs = [run]
        for other in others:
            runs.append(stack.enter_context(closing(of_another_group(run, other))))
        options = shared_out(options, group.trainers, run.examples)
        device = choose_device(group, options.device)
        parts: list[Part] = []
        for group_and_run in zip(groups, runs, strict=True):
            beside = parts[0].fixed if parts else ()
            parts.append(_part(options, *group_and_run, device, beside))
        if len({part.task.options.save_interval for part in parts}) > 1:
            raise UsageError(
                "save_interval cannot differ between groups of one process, which go on from the "
                "last step of which all have a state: set it for all"
            )
        if group.role == "teacher":
            from hvcod.training.teaching import teach

            teach(*parts[0], device)
            return _gathered(everyone, [])
        with watched(run.directory, team.signals) if group.is_root else nullcontext():
            summaries = train(parts, device, team.signals)
        for summary, part in zip(summaries, parts, strict=True):
            summary["reference"] = dict(part.task.reference())
            if pace := part.task.group.pace:
                pace.close()
    silent = any(summary.get("silent_teacher_ranks") for summary in summaries)
    mine = summaries if group.is_root else []
    if colleagues is not None and any(colleagues.allgather(silent)):
        return _gathered(colleagues, mine)
    return _gathered(everyone, mine)


def _gathered(ranks: Communicator, mine: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # A group that has finished leaves its cores to the others.
    wait_quietly(ranks)
    return list(itertools.chain.from_iterable(ranks.allgather(mine)))


def _groups_here(options: TrainOptions, team: Team) -> list[Group]:
    """Returns the groups of this process: that of its rank, or all of them."""
    if not options.codistill.in_process or options.groups == 1:
        teacher_ranks = options.codistill.teacher_ranks
        return [split(team.ranks, options.groups, options.group, team.share, teacher_ranks)]
    if (ranks := team.ranks.size) > 1:
        raise UsageError(
            f"--exchange in-process trains all groups in one process, and these are {ranks}: start "
            "it without mpirun or srun, or use --exchange files"
        )
    return in_one_process(options.groups, team.share)


def _show_log(groups: Sequence[Group]) -> None:
    """Shows the log, each line with its group; of ranks that neither lead nor poll only errors."""
    handler = logging.StreamHandler()
    where = f"[group {groups[0].index}] " if len(groups) == 1 else "%(whose)s"
    handler.setFormatter(LogLines(f"{where}%(message)s"))
    handler.addFilter(_note_turn)
    logs = groups[0].is_root or groups[0].polls
    level = logging.INFO if logs else logging.ERROR
    logging.basicConfig(level=level, handlers=[handler])


def _note_turn(record: logging.LogRecord) -> bool:
    record.whose = whose.get()
    return True


def _part(
    options: TrainOptions, group: Group, run: Run, device: torch.device, others: Sequence[Teacher]
) -> Part:
    """Returns a group's part of a run, once its data proved to be the run's. Collective.

    `others` are finished teachers of another group of this process.
    """
    options = of_this_group(options, run.directory, group)
    if group.role == "trainer" and BASE_ALGORITHMS.load(options.sgd).asynchronous:
        group = replace(group, pace=Pace(group.comm))
    task = load_task(options.task)(options, group)
    run = join_data(run, task, group.everyone)
    if group.is_root:
        advise(options.precision, device)
    fixed: Sequence[Teacher] = finished_teachers(task, run, device, others)
    if group.role == "trainer" and group.teacher_ranks:
        from hvcod.codistill.handover.received import stand_ins

        fixed = stand_ins(fixed)
    return Part(task, run, fixed)


def exit_code(summaries: Sequence[dict[str, Any]]) -> int:
    """Returns the exit code of a launch: 75 if a group is to go on, 1 if one failed, or else 0."""
    ends = {shown["ended"] for shown in summaries}
    return PREEMPTED if "preempted" in ends else 1 if "failed" in ends else 0
