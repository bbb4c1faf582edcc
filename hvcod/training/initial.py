"""The weights with which a group begins where they are not random (``--init``)."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from hvcod.codistill.teachers.fixed import digest_of
from hvcod.config import findable
from hvcod.errors import HvcodError
from hvcod.folders import group_folder
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.tasks import task_name
from hvcod.tasks.architecture import differences
from hvcod.tasks.base import Task
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.meaning import difference
from hvcod.tensorfile.steps import steps_so_far
from hvcod.training.finished.found import find_init
from hvcod.training.finished.weights import Weights
from hvcod.training.run.directory import Run
from hvcod.training.run.note import read_note, write_note
from hvcod.weights.fit import misfits, some

NAME = "init.json"

log = logging.getLogger("hvcod.training")


@dataclass(frozen=True)
class Beginning:
    """A note of the weights with which a group has begun.

    Attributes:
        source: The path that ``--init`` named, a file or a run.
        path: The file.
        digest: Of the weights as the model has them (`digest_of`).
        step: The updates that they had seen; 0 if unknown.
        run: The run that they are from; empty if unknown.
    """

    source: str
    path: str
    digest: str
    step: int
    run: str


def begin_with_init(model: nn.Module, task: Task, run: Run) -> None:
    """Gives a new model the weights of ``--init``. Collective over the group; its root reads them.

    Not in a group that has a training state, which goes on from that. A note in the folder of the
    group holds their digest: started once more before its first state, or with another path, it
    must find the same.

    Raises:
        UsageError: The path is neither a run nor a file, or has no weights for this group.
        HvcodError: The file cannot be read, is of data of another meaning, does not fit the model,
            or has other weights than when the group began.
    """
    path, group = task.options.init, task.group
    if path is None or on_rank_zero(group.comm, lambda: _goes_on(run, path)):
        return
    file = on_rank_zero(group.comm, lambda: find_init(path, group.index))
    weights = Weights(file.path, group.comm)
    mine = model.state_dict()
    on_rank_zero(group.comm, lambda: _check(weights, mine, task, run))
    model.load_state_dict(weights.hand_out(mine, "this run trains"))
    on_rank_zero(group.comm, lambda: _note(weights, path, model, run, group))


def read_beginning(folder: Path) -> Beginning | None:
    """Returns the note in the folder of a group; None if there is none that can be read."""
    return read_note(folder / NAME, Beginning)


def _goes_on(run: Run, path: Path) -> bool:
    """Returns whether a group goes on from a state, and so need not read the weights at a path.

    The path is then that of its note; at another one its weights may have been moved, or be others.
    """
    if not steps_so_far(run.states):
        return False
    note = read_beginning(run.group)
    return note is None or os.path.realpath(note.source) == os.path.realpath(path)


def _check(weights: Weights, model: Mapping[str, Tensor], task: Task, run: Run) -> None:
    """Compares a file with the model and the data; logs what may differ, and may be the reason."""
    origin, options = weights.origin, task.options
    named = f"--init {weights.path}"
    if different := difference(origin.meaning, run.meaning):
        raise HvcodError(
            f"{named} was trained on data of another meaning than those of this run: {different}; "
            "prepare the data again, with --like those"
        )
    if origin.task and task_name(origin.task) != task_name(options.task):
        log.warning("%s is of the task %s, this run of %s", named, origin.task, options.task)
    elif other := _other_model(origin.model, options.model):
        log.warning("%s is of a model with %s", named, other)
    weights.warn_of_meaning(run.meaning)
    tensors = weights.tensors()
    if problem := misfits(specification(model), specification(tensors)):
        raise HvcodError(f"{named} does not fit the model that this run trains: {problem}")
    if spoiled := [name for name, tensor in tensors.items() if bool(tensor.isnan().any())]:
        raise HvcodError(f"{named} has NaN in {some(spoiled)}")


def _other_model(theirs: str, ours: object) -> str:
    try:
        return differences(theirs, ours)
    except RefusedError:
        return f"options that this one does not have: {theirs[:200]}"


def _note(weights: Weights, path: Path, model: nn.Module, run: Run, group: Group) -> None:
    """Notes the weights with which a group begins, or compares them with those that it noted."""
    origin, before = weights.origin, read_beginning(run.group)
    file, digest = findable(weights.path), digest_of(model)
    now = Beginning(findable(path), file, digest, origin.step, origin.run_id)
    if before is None:
        write_note(run.group / NAME, now)
    elif before.digest != now.digest:
        raise HvcodError(
            f"group {group.index} of {run.directory} began with other weights ({before.path}) than "
            f"those in {weights.path} now: put them back, or use another --run-dir"
        )
    elif before.source != now.source:
        log.info("%s has the weights with which the group began", weights.path)
        return
    log.info("begins with the weights of %s", weights.path)
    _tell_of_twins(now, run, group)


def _tell_of_twins(mine: Beginning, run: Run, group: Group) -> None:
    """Warns of groups with the same weights: copies that start alike have little to teach."""
    notes = {each: read_beginning(group_folder(run.directory, each)) for each in range(group.count)}
    alike = [each for each, note in notes.items() if note and note.digest == mine.digest]
    if len(alike) > 1:
        log.warning(
            "groups %s begin with the same weights: until their data have driven them apart they "
            "have nothing to teach each other; give each its own (docs/export.md), or a burn-in",
            ", ".join(map(str, alike)),
        )
