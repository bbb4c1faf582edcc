"""The metrics of a model on the validation data."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from hvcod.codistill.predictions.sampled import whole
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.errors import HvcodError
from hvcod.groups.communicator import Communicator
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_tensors
from hvcod.tasks.base import Batch, Task
from hvcod.tasks.metrics import UNKNOWN, Metric, divergence
from hvcod.training.precision import computing
from hvcod.training.prefetch import ahead

_COMPARED = 8
"""Batches of each rank on which teachers are compared with the student."""


class Measured(NamedTuple):
    """Metrics over the validation data; a cross entropy is in nats.

    Attributes:
        whole: {name: value} over all scored predictions.
        parts: {name: value of each of the ``--validation-parts``}; empty if there is only one.
    """

    whole: dict[str, float]
    parts: dict[str, list[float]]

    def named(self, prefix: str) -> Self:
        """Returns the same values, with a prefix to their names."""
        whole = {prefix + name: value for name, value in self.whole.items()}
        return type(self)(whole, {prefix + name: values for name, values in self.parts.items()})

    def beside(self, other: Self) -> Self:
        """Returns these values and those of another model, which have other names."""
        return type(self)(self.whole | other.whole, self.parts | other.parts)


NOTHING = Measured({}, {})
"""The metrics where nothing is measured."""


def validate(models: Sequence[tuple[Task, nn.Module]], device: torch.device) -> Measured:
    """Returns a task's metrics over the validation data, and over each part of them.

    The ranks share the data. Collective over the group; every rank gets the same numbers.

    Args:
        models: The model, with its task; or several, which predict the mean of their predictive
            distributions. The first one's task measures.

    Raises:
        HvcodError: A part has no example to score.
    """
    task = models[0][0]
    group, scores = task.group, Scores(task)
    sequence = group.rank - group.size
    with ExitStack() as stack:
        for each, model in models:
            stack.enter_context(_evaluated(model))
            stack.enter_context(_statistics_of_root(model, each.group))
        for batch, answers in predictive_distributions(models, "validation", device):
            sequence += group.size * batch.begins
            scores.add(mean_distribution(answers), batch.targets, sequence)
    return scores.measured(group.comm)


def mean_distribution(answers: Sequence[Tensor]) -> Tensor:
    """Returns the logarithm of the mean of predictive distributions [N, classes]."""
    if len(answers) == 1:
        return answers[0]
    return torch.logsumexp(torch.stack(list(answers)), dim=0) - math.log(len(answers))


class Scores:
    """The metrics of a model over the validation data, and over each of ``--validation-parts``.

    The examples of the data take turns: in the k-th sequence of batches, row i is of part k + i,
    modulo the number of parts, whatever the ranks are. A row of text is a text.
    """

    def __init__(self, task: Task) -> None:
        self._whole, count = metrics_of(task), task.options.validation_parts
        self._parts = [metrics_of(task) for _ in range(count)] if count > 1 else []
        self._scored = [0] * len(self._parts)

    def add(self, logs: Tensor, targets: Tensor, sequence: int) -> None:
        """Adds the predictions [N, classes] for a batch of a sequence, which counts from 0."""
        add_scored(self._whole, logs, targets)
        if not len(targets):
            return
        of_rows = logs.unflatten(0, (len(targets), -1))
        for index, metrics in enumerate(self._parts):
            first = (index - sequence) % len(self._parts)
            mine, right = (each[first :: len(self._parts)] for each in (of_rows, targets))
            self._scored[index] += add_scored(metrics, mine.flatten(0, 1), right)

    def measured(self, comm: Communicator) -> Measured:
        """Returns the metrics. Collective; raises HvcodError if a part has nothing to score."""
        whole = {name: metric.value(comm) for name, metric in self._whole.items()}
        if not self._parts:
            return Measured(whole, {})
        scored = [sum(ranks) for ranks in zip(*comm.allgather(self._scored), strict=True)]
        if 0 in scored:
            raise HvcodError(
                f"--validation-parts {len(scored)}: part {scored.index(0)} of the validation data "
                "has nothing to score: use fewer parts, or more --validation-examples"
            )
        parts = {name: [part[name].value(comm) for part in self._parts] for name in whole}
        return Measured(whole, parts)


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
    with _evaluated(student), _statistics_of_root(student, task.group):
        for batch, (mine, *theirs) in _answers(task, student, list(teachers.values()), device):
            logs = task.log_probabilities(mine)
            add_scored({"loss": losses[0]}, logs, batch.targets)
            known = batch.targets.flatten() != UNKNOWN
            for loss, meter, logits in zip(losses[1:], divergences, theirs, strict=True):
                taught = task.log_probabilities(logits)
                add_scored({"loss": loss}, taught, batch.targets)
                meter.add(taught[known], logs[known])
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
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode for as long as it lasts."""
    model.eval()
    yield
    model.train()


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
