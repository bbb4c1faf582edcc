"""Metrics of models on a part of the data, each by itself and all as an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.evaluation.models import Trained
from hvcod.groups.split import Group
from hvcod.progress import Progress
from hvcod.tasks import task_name
from hvcod.training import validation
from hvcod.training.run.data import DataRecord
from hvcod.training.validation import add_scored, metrics_of, predictive_distributions


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one model, or of the ensemble of all.

    Attributes:
        path: The file of its weights; None for the ensemble.
        step: The number of updates that its weights have seen; None for the ensemble.
        metrics: {name: value}; ``loss`` is in nats per scored prediction.
    """

    name: str
    path: str | None
    step: int | None
    metrics: dict[str, float]


def evaluate(models: Sequence[Trained], part: str, group: Group) -> list[Evaluation]:
    """Returns the metrics of some models, and of their ensemble if there are several.

    The ensemble predicts the mean of its members' predictive distributions. Collective: the ranks
    of the group share the data and all get the same result, which does not depend on their number.

    Args:
        models: Models of one task.
        part: The part of the first model's data.

    Raises:
        HvcodError: No example of the part has a label, or the models cannot be combined.
    """
    several = len(models) > 1
    metrics = [metrics_of(models[0].task) for _ in range(len(models) + several)]
    scored = 0
    progress = Progress(None, f"evaluating on {part}", "batch", shown=group.is_root)
    for batch, answers in predictive_distributions(pairs(models), part, models[0].device):
        if several:
            answers.append(mean_distribution(answers, models))
        for index, logs in enumerate(answers):
            scored += add_scored(metrics[index], logs, batch.targets)
        progress.update()
    progress.close()
    figures = [
        {name: metric.value(group.comm) for name, metric in of_model.items()}
        for of_model in metrics
    ]
    if not group.comm.allreduce(scored):
        raise HvcodError(f"--part {part}: no example of this part has a label to score")
    evaluations = [
        Evaluation(model.name, str(model.path), model.step, values)
        for model, values in zip(models, figures, strict=False)
    ]
    return evaluations + ([Evaluation("ensemble", None, None, figures[-1])] if several else [])


def pairs(models: Sequence[Trained]) -> list[tuple[Any, Any]]:
    """Returns (task, model) of each model, for one pass over common data.

    Raises:
        HvcodError: The models have different tasks or were trained on different data.
    """
    first, data = models[0].task.options, DataRecord.of(models[0].task)
    for model in models:
        options = model.task.options
        if task_name(options.task) != task_name(first.task):
            raise HvcodError(
                f"{models[0].path} is a model of the task {first.task}, {model.path} of "
                f"{options.task}: they cannot be combined"
            )
        if data.examples_problem(DataRecord.of(model.task)):
            raise HvcodError(
                f"{models[0].path} was trained on {first.data}, {model.path} on {options.data}: "
                "give the --data on which to evaluate all"
            )
    return [(trained.task, trained.model) for trained in models]


def mean_distribution(answers: Sequence[Tensor], models: Sequence[Trained]) -> Tensor:
    """Returns the logarithm of the mean of the models' predictive distributions, [N, classes].

    Raises:
        HvcodError: They predict different numbers of classes.
    """
    for model, logs in zip(models, answers, strict=True):
        if logs.shape != answers[0].shape:
            raise HvcodError(
                f"{model.path} predicts {logs.shape[1]} classes, {models[0].path} "
                f"{answers[0].shape[1]}: they cannot be combined"
            )
    return validation.mean_distribution(answers)
