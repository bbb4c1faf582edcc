"""Trained models, rebuilt from the files of their runs."""

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.evaluation.options import EvaluationOptions
from hvcod.evaluation.sources import WeightsFile, find
from hvcod.files.toml import read_layer
from hvcod.groups.device import choose_device
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_tensors
from hvcod.groups.world import on_rank_zero
from hvcod.tasks import load_task, task_name
from hvcod.tasks.base import Task
from hvcod.tensorfile.decode import decode_tensors, read_file
from hvcod.tensorfile.meaning import difference
from hvcod.tensorfile.origin import Origin
from hvcod.training.run.data import meaning_of_task
from hvcod.training.run.group_options import of_groups
from hvcod.training.state.restore import OUTLINE, state_of
from hvcod.tree import put_together

log = logging.getLogger("hvcod.evaluation")


@dataclass(frozen=True)
class Trained:
    """A trained model with the task that it was trained for.

    Attributes:
        name: Its name in tables.
        path: The file of its weights.
        step: The number of updates that its weights have seen.
        model: On `device`, in evaluation mode.
    """

    name: str
    path: Path
    step: int
    task: Task
    model: nn.Module
    device: torch.device


def load_models(
    sources: Sequence[Path], groups: Sequence[int], options: EvaluationOptions, ranks: Group
) -> list[Trained]:
    """Loads the models of some runs and files. Collective; rank 0 alone reads the files.

    Args:
        sources: Run directories, training states, published checkpoints.
        groups: The wanted groups of a run; empty for all.

    Raises:
        UsageError: A source is neither a run nor a file, or has no such group or step.
        HvcodError: A file cannot be read or does not fit its run.
    """
    files = on_rank_zero(ranks.comm, lambda: find(sources, groups, options))
    device = choose_device(ranks, options.device)
    return [_load(file, options, ranks, device) for file in files]


def _load(
    file: WeightsFile, options: EvaluationOptions, ranks: Group, device: torch.device
) -> Trained:
    weights: dict[str, Tensor] = {}

    def read() -> Origin:
        origin, tensors = _read(file.path)
        weights.update(tensors)
        return origin

    origin = on_rank_zero(ranks.comm, read)
    # Resolved on every rank, because this also imports the task's class.
    values = on_rank_zero(ranks.comm, lambda: read_layer(file.config))
    of_run = options_of_run(values, file.config, options.task)
    of_group = of_groups(of_run, file.config.parent, [origin.group], ranks.comm)
    trained = of_group[origin.group]
    given = dataclasses.replace(
        trained, data=options.data or trained.data, validation_examples=options.examples
    )
    task = load_task(given.task)(given, ranks)
    on_rank_zero(ranks.comm, lambda: _compare_meaning(file.path, origin, trained, task))
    model = task.build_model()
    tensors = broadcast_tensors(ranks.comm, weights if ranks.is_root else None)
    if problem := _misfit(model.state_dict(), tensors):
        raise HvcodError(
            f"{file.path} does not fit the model that {file.config} describes for these data: "
            f"{problem}"
        )
    model.load_state_dict(tensors)
    return Trained(file.name, file.path, origin.step, task, model.to(device).eval(), device)


def _compare_meaning(path: Path, origin: Origin, trained: TrainOptions, task: Task) -> None:
    """Raises HvcodError if the data have another meaning than those of the training."""
    meaning, data = meaning_of_task(task), task.options.data
    if different := difference(meaning, origin.meaning):
        raise HvcodError(
            f"{data or 'the built-in data'} has another meaning than the data on which {path} was "
            f"trained ({trained.data or 'built-in data'}): {different}; prepare it again, with "
            f"--like {trained.data or 'the data of the training'}"
        )
    content = task.content() if origin.content and data == trained.data else ""
    if content and content != origin.content:
        log.warning("%s holds other examples than when %s was trained", data, path)
    elsewhere = os.path.realpath(data or "") != os.path.realpath(trained.data or "")
    if meaning and not origin.meaning and elsewhere:
        log.warning(
            "%s does not name the meaning of its data, such as the vocabulary: make sure that %s "
            "has the same",
            path,
            data,
        )


def _misfit(of_model: Mapping[str, Tensor], of_file: Mapping[str, Tensor]) -> str:
    """The first difference between the tensors of a model and those of a file; empty if none."""
    for name, tensor in of_model.items():
        if name not in of_file:
            return f"the file has no {name}"
        if of_file[name].shape != tensor.shape:
            return f"{name} has shape {tuple(of_file[name].shape)}, not {tuple(tensor.shape)}"
    unknown = sorted(of_file.keys() - of_model.keys())
    return f"the model has no {unknown[0]}" if unknown else ""


def _read(path: Path) -> tuple[Origin, dict[str, Tensor]]:
    """The origin and the weights of a training state or a published checkpoint."""
    try:
        origin, tensors = decode_tensors(read_file(path, path.stat().st_size))
        if OUTLINE not in tensors:
            return origin, tensors
        state = state_of(origin, tensors)
        parts = dict(state.shared["dict"])
        return origin, put_together(parts["model"], state.tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise HvcodError(f"{path} does not contain weights that hvcod wrote: {error!r}") from error
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error


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
