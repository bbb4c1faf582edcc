"""The metrics of a model on the validation data."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hvcod.codistill.predictions.sampled import whole
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_tensors
from hvcod.tasks.base import Batch, Task
from hvcod.tasks.metrics import UNKNOWN, Metric, divergence
from hvcod.training.precision import computing
from hvcod.training.prefetch import ahead

_COMPARED = 8
"""Batches of each rank on which teachers are compared with the student."""


def validate(task: Task, model: nn.Module, device: torch.device) -> dict[str, float]:
    """Returns the task's metrics over the validation data; a cross entropy is in nats.

    The ranks share the data. Collective over the group; every rank gets the same numbers.
    """
    model.eval()
    metrics = metrics_of(task)
    with _statistics_of_root(model, task.group):
        for batch, (logs,) in predictive_distributions([(task, model)], "validation", device):
            add_scored(metrics, logs, batch.targets)
    model.train()
    return {name: metric.value(task.group.comm) for name, metric in metrics.items()}


class Comparison(NamedTuple):
    """A student beside its teachers, on the same predictions.

    Attributes:
        loss: Of the student, in nats.
        losses: {key: loss} of the teachers.
        disagreement: {key: mean KL divergence of the teacher's prediction from the student's}, in
            nats. Near zero the copies have become one, and a teacher has nothing left to give.
    """

    loss: float
    losses: dict[int, float]
    disagreement: dict[int, float]


def compare(
    task: Task, student: nn.Module, teachers: Mapping[int, Teacher], device: torch.device
) -> Comparison:
    """Compares a student with its teachers, those that all ranks have, on some validation batches.

    Always the first few of each rank. Collective over the group; every rank gets the same numbers.
    """
    # A rank that goes at its own pace may have one less, or more.
    everywhere = set.intersection(*task.group.comm.allgather(set(teachers)))
    teachers = {key: teacher for key, teacher in teachers.items() if key in everywhere}
    losses = [metrics_of(task)["loss"] for _ in range(1 + len(teachers))]
    divergences = [divergence() for _ in teachers]
    student.eval()
    with _statistics_of_root(student, task.group):
        for batch, (mine, *theirs) in _answers(task, student, list(teachers.values()), device):
            logs = task.log_probabilities(mine)
            add_scored({"loss": losses[0]}, logs, batch.targets)
            known = batch.targets.flatten() != UNKNOWN
            for loss, meter, logits in zip(losses[1:], divergences, theirs, strict=True):
                taught = task.log_probabilities(logits)
                add_scored({"loss": loss}, taught, batch.targets)
                meter.add(taught[known], logs[known])
    student.train()
    own, *others = (loss.value(task.group.comm) for loss in losses)
    apart = [meter.value(task.group.comm) for meter in divergences]
    keyed = [dict(zip(teachers, values, strict=True)) for values in (others, apart)]
    return Comparison(own, *keyed)


@torch.no_grad()
def _answers(
    task: Task, student: nn.Module, teachers: Sequence[Teacher], device: torch.device
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Yields some batches of this rank, and the logits of the student and of each teacher."""
    states: list[Any] = []
    for batch in itertools.islice(ahead(task.evaluation_data("validation")), _COMPARED):
        batch = batch.to(device)
        # The states are those of these batches: the ones of the training stay as they are.
        mine, *theirs = [None] * (1 + len(teachers)) if batch.begins else states
        with computing(task.options.precision, device):
            logits, mine = task.predict(student, batch.inputs, mine)
            question = Question(batch.inputs, logits)
            answers = [
                each.predict(question, state) for each, state in zip(teachers, theirs, strict=True)
            ]
        states = [mine, *(state for _, state in answers)]
        yield batch, [logits, *(whole(each, "a measured loss") for each, _ in answers)]


@contextlib.contextmanager
def lent(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Gives a model other weights for as long as it lasts; costs nothing if they are its own."""
    mine: dict[str, Tensor] = model.state_dict()
    others = {n: each for n, each in weights.items() if each.data_ptr() != mine[n].data_ptr()}
    kept = {name: mine[name].clone() for name in others}
    model.load_state_dict(others, strict=False)
    yield
    model.load_state_dict(kept, strict=False)


@contextlib.contextmanager
def _statistics_of_root(model: nn.Module, group: Group) -> Iterator[None]:
    """Gives every rank the running statistics of the group root for as long as it lasts."""
    learned = dict(model.named_parameters())
    mine = {name: each.clone() for name, each in model.state_dict().items() if name not in learned}
    if mine:
        roots = {name: each.cpu() for name, each in mine.items()} if group.is_root else None
        model.load_state_dict(broadcast_tensors(group.comm, roots), strict=False)
    yield
    model.load_state_dict(mine, strict=False)


@torch.no_grad()
def predicted_logits(
    models: Sequence[tuple[Task, nn.Module]], part: str, device: torch.device
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Yields each batch of this rank's share and each model's logits.

    The models are in evaluation mode, on `device`, each with its task, in whose ``--precision`` it
    computes; the task of the first brings that part of the data, such as ``validation``.
    """
    states: list[Any] = [None] * len(models)
    for batch in ahead(models[0][0].evaluation_data(part)):
        batch = batch.to(device)
        answers = []
        for index, (task, model) in enumerate(models):
            state = None if batch.begins else states[index]
            with computing(task.options.precision, device):
                logits, states[index] = task.predict(model, batch.inputs, state)
            answers.append(logits)
        yield batch, answers


@torch.no_grad()
def predictive_distributions(
    models: Sequence[tuple[Task, nn.Module]], part: str, device: torch.device
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Yields what `predicted_logits` does, as log-probabilities [N, classes]."""
    for batch, answers in predicted_logits(models, part, device):
        pairs = zip(models, answers, strict=True)
        yield batch, [task.log_probabilities(logits) for (task, _), logits in pairs]


def metrics_of(task: Task) -> dict[str, Metric]:
    """Returns new metrics of a task; raises HvcodError if there is no loss among them."""
    metrics = task.metrics()
    if "loss" not in metrics:
        raise HvcodError(
            f"metrics() of {type(task).__name__} gives {', '.join(metrics) or 'nothing'}; it must "
            'give a "loss" too, such as negative_log_likelihood()'
        )
    return metrics


def add_scored(metrics: Mapping[str, Metric], logs: Tensor, targets: Tensor) -> int:
    """Adds the predictions whose right class is known to metrics; returns how many there are."""
    targets = targets.flatten()
    known = targets != UNKNOWN
    if not known.all():
        logs, targets = logs[known], targets[known]
    for metric in metrics.values():
        metric.add(logs, targets)
    return len(targets)
