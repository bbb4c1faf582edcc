"""The weights in a file, and the model that they belong to.

The file is a published checkpoint, a training state, or one that ``hvcod export`` or somebody else
has written (`hvcod.weights`).
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hvcod import config
from hvcod.codistill.average import averaged
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.toml import read_layer
from hvcod.groups.communicator import Communicator
from hvcod.groups.tensors import broadcast_tensors
from hvcod.groups.world import on_rank_zero
from hvcod.tasks import load_task, task_name
from hvcod.tasks.architecture import options_of, tensors_of
from hvcod.tasks.base import Task
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.errors import RefusedError
from hvcod.tensorfile.format import specification
from hvcod.tensorfile.origin import Origin
from hvcod.training.run.group_options import of_groups
from hvcod.training.state.restore import OUTLINE, State, state_of
from hvcod.tree import put_together
from hvcod.values import Paths
from hvcod.weights.card import Card
from hvcod.weights.fit import misfits
from hvcod.weights.kinds import READ, is_weights_file
from hvcod.weights.read import read_weights

log = logging.getLogger("hvcod.training")

_NO_AVERAGE = (
    "it has no average of the weights: the run was trained without --average and --publish-average"
)


PATHS = frozenset(
    key
    for key, (_, kind) in config.fields_of(TrainOptions).items()
    if issubclass(config.plain_type(kind), Path | Paths)
)
"""The keys of options that are paths: they mean something to one machine alone."""


class Weights:
    """The origin and the tensors of a file on all ranks of a communicator; rank 0 alone reads it.

    Attributes:
        path: The file.
        origin: Describes it.
        card: Describes it, too, if it was exported; None otherwise.
    """

    def __init__(self, path: Path, comm: Communicator, average: bool = False) -> None:
        """Collective; raises HvcodError if the file cannot be read or holds no weights.

        If `average` is true, its weights are a moving average, or the error says that it has none.
        """
        self.path, self._comm = path, comm
        self._tensors: dict[str, Tensor] | None = None

        def read() -> tuple[Origin, Card | None]:
            origin, self._tensors, card = _read(path, average)
            return origin, card

        self.origin, self.card = on_rank_zero(comm, read)

    def model(self, own: Any) -> Any:
        """Returns the task's own options with which the file's model was built, by what it says.

        `own` are those to go by if the file does not say, as one of an earlier version; raises
        HvcodError if they make no sense.
        """
        try:
            return options_of(self.origin.model, own)
        except RefusedError as error:
            raise HvcodError(f"{self.path} {error}") from error

    def warn_of_meaning(self, meaning: str, data: str = "the data of this run") -> None:
        """Warns if the file does not name the meaning of its data, and those at hand have one."""
        if meaning and not self.origin.meaning:
            log.warning(
                "%s does not name the meaning of its data, such as the vocabulary: make sure that "
                "%s have the same",
                self.path,
                data,
            )

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors on rank 0; empty on others, and once they were handed out."""
        return self._tensors or {}

    def give_up(self) -> None:
        """Gives up the memory of the file: a training state holds far more than the weights."""
        self._tensors = None

    def check(self, task: Task) -> None:
        """Compares the tensors with the model that a task would build, before it does. Collective.

        Raises:
            HvcodError: The file does not hold the model that it describes.
        """

        def compare() -> None:
            held = specification(self.tensors())
            try:
                problem = misfits(tensors_of(task, held), held)
            except RefusedError as error:
                raise HvcodError(f"{self.path} {error}") from error
            if problem:
                raise HvcodError(
                    f"{self.path} does not hold the model that it describes: {problem}"
                )

        on_rank_zero(self._comm, compare)

    def hand_out(self, model: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
        """Returns the tensors on every rank, once they proved to be those of a model. Collective.

        The file's memory is given up.

        Args:
            model: Its `state_dict`.
            where: Says where the model is described, for messages.

        Raises:
            HvcodError: The model has other tensors.
        """
        tensors = broadcast_tensors(self._comm, self._tensors)
        self.give_up()
        if problem := misfits(specification(model), specification(tensors)):
            raise HvcodError(f"{self.path} does not fit the model that {where}: {problem}")
        return tensors


def options_of_file(
    config_file: Path, group: int, comm: Communicator, task: str | None = None
) -> TrainOptions:
    """Returns the options with which a group of a run was trained. Collective; rank 0 reads.

    Args:
        config_file: The run's ``config.toml``.
        task: The task that the user has named, whose module may lie in the current folder.

    Raises:
        UsageError: A file cannot be read or has options that do not fit, or the task is another.
    """
    # Resolved on every rank, because this also imports the task's class.
    values = on_rank_zero(comm, lambda: read_layer(config_file))
    of_run = options_of_run(values, config_file, task)
    return of_groups(of_run, config_file.parent, [group], comm)[group]


def options_of_weights(
    weights: Weights, config_file: Path | None, comm: Communicator, task: str | None = None
) -> TrainOptions:
    """Returns the options with which weights were trained: by their run, or by their card.

    Collective; raises what `options_of_file` does, and UsageError if neither is known.
    """
    if config_file is not None:
        return options_of_file(config_file, weights.origin.group, comm, task)
    if weights.card is None:
        raise UsageError(
            f"{weights.path} is not in its run directory: name the run's config.toml with --config"
        )
    return options_of_origin(weights, task)


def options_of_origin(weights: Weights, task: str | None = None) -> TrainOptions:
    """Returns the options that weights name themselves: the task, the model's, those of their card.

    Args:
        task: The task that the user has named, whose module may lie in the current folder.

    Raises:
        UsageError: They name no task, or it is another one or cannot be imported.
    """
    origin, card = weights.origin, weights.card
    if not origin.task:
        raise UsageError(
            f"{weights.path} does not say which model it is of: name the config.toml of a run that "
            "trained such a model (--config)"
        )
    try:
        model = dict(json.loads(origin.model or "{}"))
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{weights.path}: its model is not described in JSON") from error
    values = {f"model.{key}": value for key, value in model.items()}
    told = card.training if card else {}
    values |= {key: value for key, value in told.items() if key not in PATHS}
    values["task"] = origin.task
    return options_of_run(values, weights.path, task)


def options_of_run(values: Mapping[str, Any], path: Path, named: str | None) -> TrainOptions:
    """Returns the options of a run from the values of its ``config.toml``; imports its task.

    Args:
        named: The task that the user has named, whose module may lie in the current folder.

    Raises:
        UsageError: The task is another one than that of the run, or cannot be imported.
    """
    of_run = str(values.get("task", TrainOptions.task))
    if named is not None and task_name(named) != task_name(of_run):
        raise UsageError(f"--task {named}: {path} is the configuration of a run of task {of_run}")
    task = load_task(of_run, here=named is not None)
    try:
        options: TrainOptions = config.resolve(TrainOptions, [values], task.Options)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return options


def _read(path: Path, average: bool) -> tuple[Origin, dict[str, Tensor], Card | None]:
    """The origin and the weights in a file, and its card if it was exported."""
    try:
        if is_weights_file(path):
            tensors, card = read_weights(path)
            origin = card.origin if card else Origin()
        else:
            origin, tensors = decode_tensors(read_file(path, path.stat().st_size))
            card = None
        if OUTLINE in tensors:
            return *_of_state(state_of(origin, tensors), average), None
        if average and origin.average_decay is None:
            raise HvcodError(_NO_AVERAGE)
        if origin.base is not None:
            raise HvcodError(
                f"it holds changes upon step {origin.base}, not whole weights: name a step-*.h5"
            )
        return origin, tensors, card
    except (KeyError, TypeError, ValueError) as error:
        raise HvcodError(f"{path} does not contain weights that hvcod wrote: {error!r}") from error
    except (OSError, HvcodError) as error:
        known = is_weights_file(path) or path.suffix == ".h5"
        hint = "" if known else f" (files of weights end in {', '.join(READ)}, or in .h5)"
        raise HvcodError(f"cannot read {path}: {reason_of(error)}{hint}") from error


def _of_state(state: State, average: bool) -> tuple[Origin, dict[str, Tensor]]:
    parts = dict(state.shared["dict"])
    weights: dict[str, Tensor] = put_together(parts["model"], state.tensors)
    if not average:
        return state.about, weights
    # One that is published is the Codistiller's.
    kept = parts.get("average") or dict(parts["codistiller"]["dict"]).get("average")
    if kept is None:
        raise HvcodError(_NO_AVERAGE)
    average_state = put_together(kept, state.tensors)
    origin = dataclasses.replace(state.about, average_decay=float(average_state["decay"]))
    return origin, weights | averaged(average_state, weights)
