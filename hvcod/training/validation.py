"""What a group checks of its model: its metrics, and that its ranks agree."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.tasks.base import Task
from hvcod.tasks.metrics import UNKNOWN, Metric


@torch.no_grad()
def validate(task: Task, model: nn.Module, device: torch.device) -> dict[str, float]:
    """The task's metrics over the validation data; ``loss`` is in nats for a cross entropy.

    The data are shared out over the ranks. Collective over the group; every rank gets the same
    numbers.
    """
    model.eval()
    metrics, state = task.metrics(), None
    for batch in task.evaluation_data():
        batch = batch.to(device)
        logits, state = task.predict(model, batch.inputs, None if batch.begins else state)
        add_scored(metrics, task.log_probabilities(logits), batch.targets)
    model.train()
    return {name: metric.value(task.group.comm) for name, metric in metrics.items()}


def add_scored(metrics: Mapping[str, Metric], logs: Tensor, targets: Tensor) -> None:
    """Adds those of some predictions to metrics of which the right class is known."""
    targets = targets.flatten()
    known = targets != UNKNOWN
    if not known.all():
        logs, targets = logs[known], targets[known]
    for metric in metrics.values():
        metric.add(logs, targets)


def common_weights(model: nn.Module, group: Group) -> str:
    """SHA-256 of the parameters, which synchronous SGD keeps bit-equal on all ranks of a group.

    Collective over the group.

    Raises:
        HvcodError: Two ranks hold different weights, so that the gradients were not averaged.
    """
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    found = group.comm.allgather(digest.hexdigest())
    different = [rank for rank, each in enumerate(found) if each != found[0]]
    if different:
        raise HvcodError(
            f"group {group.index}: ranks {different} ended with other weights than rank 0; "
            "do not use this run: the gradients were not averaged"
        )
    return str(found[0])
