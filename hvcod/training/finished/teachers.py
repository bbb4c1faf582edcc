"""Finished models that teach a training: offline distillation (paper, section 3.4.1).

They teach a group that is alone, or stand beside the groups' own exchange, as a production model
does that a retrain should agree with (Jiang et al., arXiv 2106.02654).
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from hvcod.codistill.teachers.base import Teacher
from hvcod.codistill.teachers.fixed import FixedTeacher, Unchanging
from hvcod.errors import HvcodError
from hvcod.groups.world import on_rank_zero
from hvcod.tasks import task_name
from hvcod.tasks.base import Task
from hvcod.tensorfile.meaning import difference
from hvcod.tensorfile.origin import Origin
from hvcod.training.compiling import outputs_of
from hvcod.training.finished.found import find_teachers
from hvcod.training.finished.sources import WeightsFile
from hvcod.training.finished.weights import Weights, options_of_file
from hvcod.training.run.directory import Run, record_teachers
from hvcod.training.stored.store import PredictionStore
from hvcod.training.stored.teacher import StoredTeacher, check

log = logging.getLogger("hvcod.training")


def finished_teachers(
    task: Task, run: Run, device: torch.device, others: Sequence[Teacher] = ()
) -> list[Unchanging]:
    """Returns the teachers of ``--teacher``, once they proved to be those that the run began with.

    Each group root reads the files, and hands the weights to its group; stores of predictions, of
    which each rank reads its part, come last. Collective over the launch.

    Args:
        others: The teachers of another group of this process, whose models are used again.

    Raises:
        UsageError: A path is neither a run, a file of weights nor a store.
        HvcodError: A file cannot be read, is of another task or of data of another meaning, does
            not fit its model, or has other weights than when the run began.
    """
    if not task.options.teacher:
        return []
    teachers: list[Unchanging] = []
    problem: HvcodError | None = None
    try:
        found = on_rank_zero(task.group.comm, lambda: find_teachers(task.options.teacher))
        here = {each.name: each for each in others if isinstance(each, FixedTeacher)}
        for file in found.files:
            model = here.get(file.name)
            teachers.append(model.twin() if model else _load(file, task, run, device))
        teachers += [_open(folder, name, task) for name, folder in found.stores.items()]
    except HvcodError as error:
        problem = error
    everyone = task.group.everyone
    if problem := next(filter(None, everyone.allgather(problem)), None):
        raise problem
    _record(task, run, teachers)
    if task.group.is_root:
        for teacher in teachers:
            log.info("taught by %s, from %s", teacher.name, teacher.source)
    return teachers


def _open(folder: Path, name: str, task: Task) -> StoredTeacher:
    store = PredictionStore(folder)
    check(store, task)
    return StoredTeacher(store, name)


def _record(task: Task, run: Run, teachers: Sequence[Unchanging]) -> None:
    """Compares the weights with those that the groups have, now and before. Collective."""
    everyone, mine = task.group.everyone, None
    if task.group.is_root:
        mine = [{"digest": teacher.digest, "source": teacher.source} for teacher in teachers]
    of_groups = [theirs for theirs in everyone.allgather(mine) if theirs is not None]
    digests = [[one["digest"] for one in theirs] for theirs in of_groups]
    if any(theirs != digests[0] for theirs in digests):
        raise HvcodError(
            f"--teacher {task.options.teacher}: the groups of this launch read different weights "
            "there: use a path that all nodes share"
        )
    on_rank_zero(
        everyone, lambda: record_teachers(run.directory, task.options.teacher, of_groups[0])
    )


def _load(file: WeightsFile, task: Task, run: Run, device: torch.device) -> FixedTeacher:
    finished = finished_model(file, task, run.meaning)
    if finished.origin.run_id == run.id:
        raise HvcodError(f"--teacher {file.path} is of this very run, which has yet to learn")
    source = f"{file.path}, step {finished.origin.step}"
    precision = task.options.codistill.teacher_precision
    model, outputs = finished.model.to(device), outputs_of(finished.task)
    return FixedTeacher(model, outputs, None, file.name, source, precision)


class Finished(NamedTuple):
    """A finished model, the task that builds it, and what its file says of its origin."""

    model: nn.Module
    task: Task
    origin: Origin


def finished_model(
    file: WeightsFile, task: Task, meaning: str, option: str = "--teacher"
) -> Finished:
    """Returns the model in a file, on the CPU, to answer the examples of a task. Collective.

    It may have another architecture than the task's own.

    Args:
        meaning: Of the task's data.
        option: The option that named the file, for messages.

    Raises:
        HvcodError: The file cannot be read, is of another task or of data of another meaning, or
            does not fit its model.
    """
    weights = Weights(file.path, task.group.comm)
    _check(weights, task, meaning, option)
    own, where = _described(file, weights, task)
    of_model = task
    if own != task.options.model:
        of_model = task.with_model(own)
        weights.check(of_model)
    model = of_model.build_model()
    model.load_state_dict(weights.hand_out(model.state_dict(), where))
    return Finished(model, of_model, weights.origin)


def _check(weights: Weights, task: Task, meaning: str, option: str) -> None:
    """Raises HvcodError if a file's weights are of another task, or of data of another meaning."""
    origin, options, path = weights.origin, task.options, weights.path
    if origin.task and task_name(origin.task) != task_name(options.task):
        raise HvcodError(
            f"{option} {path}: its task is {origin.task}, that of this run {options.task}"
        )
    if different := difference(origin.meaning, meaning):
        raise HvcodError(
            f"{option} {path} was trained on data of another meaning than those of this run: "
            f"{different}; its predictions would mean something else here"
        )
    if task.group.is_root:
        weights.warn_of_meaning(meaning)


def _described(file: WeightsFile, weights: Weights, task: Task) -> tuple[Any, str]:
    """Returns the task's own options with which a teacher was built, and where they are.

    They are in the file or, if an earlier version wrote it, in the ``config.toml`` of its run;
    otherwise they are taken to be those of the student. Collective over the group.
    """
    origin, own = weights.origin, task.options.model
    if origin.model:
        return weights.model(own), "it names itself"
    if file.config:
        options = options_of_file(file.config, origin.group, task.group.comm)
        return options.model, f"{file.config} describes"
    return (
        own,
        "is the student's, as the file does not name its own and is not in its run directory",
    )
