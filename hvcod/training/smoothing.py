"""Label smoothing in place of distillation: the paper's two baselines (section 3.3).

The term of the loss that pulls a student towards its teachers pulls it towards a fixed distribution
instead: the uniform one, or that of the classes in the training data.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from hvcod.codistill.teachers.constant import ConstantTeacher
from hvcod.config import CodistillOptions, TrainOptions
from hvcod.errors import HvcodError
from hvcod.tasks.base import Task

WEIGHT = 0.1
"""The weight of the term unless one is given."""


def term_options(options: TrainOptions) -> CodistillOptions:
    """Returns the options of the distillation term, or of the smoothing that takes its place.

    Smoothing counts from the first step: the burn-in is for teachers, which have to learn first.
    """
    if options.smoothing == "none":
        return options.codistill
    weight = WEIGHT if options.smoothing_weight is None else options.smoothing_weight
    return dataclasses.replace(options.codistill, burn_in=0, distill_weight=weight)


def smoothing_teachers(task: Task) -> list[ConstantTeacher]:
    """Returns the constant teacher of ``--smoothing``, if there is any.

    Raises:
        HvcodError: The task does not know how frequent the classes are.
    """
    name = task.options.smoothing
    if name == "none":
        return []
    return [ConstantTeacher(torch.zeros(()) if name == "uniform" else _unigram(task), name)]


def _unigram(task: Task) -> Tensor:
    """Returns logits of the classes' frequencies."""
    frequencies = task.class_frequencies()
    if frequencies is None:
        raise HvcodError(
            f"--smoothing unigram needs class_frequencies() of the task {task.options.task}, which "
            "does not know how frequent the classes are in its training data: use --smoothing "
            "uniform"
        )
    absent = np.flatnonzero(~(np.asarray(frequencies) > 0))
    if len(absent):
        raise HvcodError(
            f"--smoothing unigram: class {absent[0]} does not occur in the training data, so no "
            "prediction can match their frequencies: use --smoothing uniform"
        )
    logs = torch.tensor(frequencies, dtype=torch.float64).log().float()
    return logs[1] - logs[0] if task.likelihood == "binary" else logs
