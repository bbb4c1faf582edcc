"""The weights with which a group begins where they are not random (``--init``)."""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from hvcod.codistill.teachers.fixed import digest_of
from hvcod.config import findable
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.regular import read_regular
from hvcod.files.whole import write_whole
from hvcod.folders import group_folder
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.tasks import task_name
from hvcod.tasks.architecture import differences
from hvcod.tasks.base import Task
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import dtype_name
from hvcod.tensorfile.meaning import difference
from hvcod.tensorfile.steps import list_steps
from hvcod.training.finished.sources import Choice, WeightsFile, find
from hvcod.training.finished.weights import Weights
from hvcod.training.run.directory import Run

NAME = "init.json"

_LARGEST = 64 * 1024
_SHOWN = 40
"""Names of tensors in a message, at most."""

_PREFIXES = {
    "module.": "model.module.state_dict()",
    "_orig_mod.": "model._orig_mod.state_dict()",
}
"""What a wrapper puts before the names of a model's tensors, and how to save them without it."""

log = logging.getLogger("hvcod.training")


@dataclass(frozen=True)
class Beginning:
    """A note of the weights with which a group has begun.

    Attributes:
        path: The file.
        digest: Of the weights as the model has them (`digest_of`).
        step: The updates that they had seen; 0 if unknown.
        run: The run that they are from; empty if unknown.
    """

    path: str
    digest: str
    step: int
    run: str


def begin_with_init(model: nn.Module, task: Task, run: Run) -> None:
    """Gives a new model the weights of ``--init``. Collective over the group; its root reads them.

    Not in a group that has a training state, which goes on from that. A note in the folder of the
    group holds the digest: started once more before its first state, it must find the same.

    Raises:
        UsageError: The path is neither a run nor a file, or has no weights for this group.
        HvcodError: The file cannot be read, is of data of another meaning, does not fit the model,
            or has other weights than when the group began.
    """
    path, group = task.options.init, task.group
    if path is None or on_rank_zero(group.comm, lambda: _has_state(run.states)):
        return
    file = on_rank_zero(group.comm, lambda: _file(path, group.index))
    weights = Weights(file.path, group.comm)
    mine = model.state_dict()
    on_rank_zero(group.comm, lambda: _check(weights, mine, task, run))
    model.load_state_dict(weights.hand_out(mine, "this run trains"))
    on_rank_zero(group.comm, lambda: _note(weights, model, run, group))


def read_beginning(folder: Path) -> Beginning | None:
    """Returns the note in the folder of a group; None if there is none that can be read."""
    try:
        note = Beginning(**json.loads(read_regular(folder / NAME, _LARGEST)))
    except FileNotFoundError:
        return None
    except (OSError, HvcodError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read: %s", folder / NAME, reason_of(error))
        return None
    texts = (note.path, note.digest, note.run)
    return note if all(type(each) is str for each in texts) and type(note.step) is int else None


def _has_state(folder: Path) -> bool:
    try:
        return bool(list_steps(folder))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise HvcodError(f"cannot list {folder}: {reason_of(error)}") from error


def _file(path: Path, group: int) -> WeightsFile:
    """Returns the file; of a run that of the group of the same number, or of its only group."""
    try:
        files = find([path], [], Choice())
    except UsageError as error:
        raise UsageError(f"--init: {error}") from error
    if len(files) == 1:
        return files[0]
    own = [file for file in files if file.name == f"group {group}"]
    if not own:
        names = ", ".join(file.name for file in files)
        raise UsageError(
            f"--init {path}: this run has {names}, but no group {group}: name a file of weights"
        )
    return own[0]


def _check(weights: Weights, model: Mapping[str, Tensor], task: Task, run: Run) -> None:
    """Compares a file with the model and the data; logs what may differ."""
    origin, options = weights.origin, task.options
    named = f"--init {weights.path}"
    if different := difference(origin.meaning, run.meaning):
        raise HvcodError(
            f"{named} was trained on data of another meaning than those of this run: {different}; "
            "prepare the data again, with --like those"
        )
    if problem := misfits(model, weights.tensors()):
        raise HvcodError(f"{named} does not fit the model that this run trains: {problem}")
    if origin.task and task_name(origin.task) != task_name(options.task):
        log.warning("%s is of the task %s, this run of %s", named, origin.task, options.task)
    elif other := _other_model(origin.model, options.model):
        log.warning("%s is of a model with %s", named, other)
    if run.meaning and not origin.meaning:
        log.warning(
            "%s does not name the meaning of its data, such as the vocabulary: make sure that the "
            "data of this run have the same",
            named,
        )


def _other_model(theirs: str, ours: object) -> str:
    try:
        return differences(theirs, ours)
    except RefusedError:
        return f"options that this one does not have: {theirs[:200]}"


def misfits(model: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """Returns why tensors cannot be the weights of a model; empty if they can.

    Names all that are missing or too many, or have another shape or another kind of numbers. The
    numbers themselves may have another precision.
    """
    missing = [name for name in model if name not in tensors]
    unknown = [name for name in tensors if name not in model]
    both = [name for name in model if name in tensors]
    wrong = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(model[name].shape)}"
        for name in both
        if tensors[name].shape != model[name].shape
    ]
    wrong += [
        f"{name} of {dtype_name(tensors[name].dtype)} instead of {dtype_name(model[name].dtype)}"
        for name in both
        if tensors[name].is_floating_point() != model[name].is_floating_point()
    ]
    spoiled = [name for name in both if bool(tensors[name].isnan().any())]
    parts = [
        f"{what}: {_some(names)}"
        for what, names in (
            ("it lacks", missing),
            ("it has, and the model does not", unknown),
            ("of another shape or type", wrong),
            ("with NaN", spoiled),
        )
        if names
    ]
    return "; ".join(parts) + _hint(missing, unknown)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:200] for name in names[:_SHOWN]) + more


def _hint(missing: Iterable[str], unknown: Iterable[str]) -> str:
    for prefix, advice in _PREFIXES.items():
        if {prefix + name for name in missing} & set(unknown):
            return f" (the names begin with {prefix}: save {advice})"
    return ""


def _note(weights: Weights, model: nn.Module, run: Run, group: Group) -> None:
    origin, before = weights.origin, read_beginning(run.group)
    now = Beginning(findable(weights.path), digest_of(model), origin.step, origin.run_id)
    if before is not None and before.digest != now.digest:
        raise HvcodError(
            f"group {group.index} of {run.directory} began with other weights ({before.path}) than "
            f"those in {weights.path} now: put them back, or use another --run-dir"
        )
    if before is None:
        text = json.dumps(dataclasses.asdict(now), indent=1)
        try:
            write_whole(run.group / NAME, text.encode() + b"\n")
        except OSError as error:
            raise HvcodError(f"cannot write {run.group / NAME}: {reason_of(error)}") from error
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
