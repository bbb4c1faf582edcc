"""Trained models, rebuilt from the files of their runs."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.options import EvaluationOptions
from hvcod.groups.device import choose_device
from hvcod.groups.split import Group
from hvcod.groups.world import on_rank_zero
from hvcod.tasks import load_task
from hvcod.tasks.base import Task
from hvcod.tensorfile.meaning import difference
from hvcod.training.finished.sources import WeightsFile, find
from hvcod.training.finished.weights import Weights, options_of_weights
from hvcod.training.run.data import meaning_of_task

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
    choice = options.choice()
    files = on_rank_zero(ranks.comm, lambda: find(sources, groups, choice))
    device = choose_device(ranks, options.device)
    return [_load(file, options, ranks, device) for file in files]


def _load(
    file: WeightsFile, options: EvaluationOptions, ranks: Group, device: torch.device
) -> Trained:
    weights = Weights(file.path, ranks.comm, average=options.weights == "average")
    of_group = options_of_weights(weights, file.config, ranks.comm, options.task)
    if file.config is None and weights.card and not (options.data or weights.card.built_in):
        raise UsageError(
            f"{file.path} travels without data: name those to use with --data, prepared --like "
            "those of the training"
        )
    trained = dataclasses.replace(of_group, model=weights.model(of_group.model))
    given = dataclasses.replace(
        trained,
        data=options.data or trained.data,
        validation_examples=options.examples,
        precision=options.precision or trained.precision,
    )
    task = load_task(given.task)(given, ranks)
    on_rank_zero(ranks.comm, lambda: _compare_meaning(weights, trained, task))
    if weights.card or trained.model != of_group.model:
        weights.check(task)
    model = task.build_model()
    where = f"{file.config or 'its card'} describes for these data"
    model.load_state_dict(weights.hand_out(model.state_dict(), where))
    step = weights.origin.step
    return Trained(file.name, file.path, step, task, model.to(device).eval(), device)


def _compare_meaning(weights: Weights, trained: TrainOptions, task: Task) -> None:
    """Raises HvcodError if the data have another meaning than those of the training."""
    path, origin = weights.path, weights.origin
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
    if elsewhere:
        weights.warn_of_meaning(meaning, str(data or "the built-in data"))
