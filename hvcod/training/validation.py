"""What a group checks of its model: its validation loss, and that its ranks agree."""

import hashlib

import torch
from torch import nn

from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.tasks.base import Task


@torch.no_grad()
def validate(task: Task, model: nn.Module, device: torch.device) -> float:
    """The mean task loss over the validation data, in nats for a cross entropy.

    The data are shared out over the ranks; the hidden state starts anew and is carried through the
    pass. Collective over the group; every rank gets the same number.
    """
    model.eval()
    total, count, state = 0.0, 0, None
    for batch in task.validation_data():
        batch = batch.to(device)
        logits, state = task.predict(model, batch.inputs, state)
        total += float(task.loss(logits, batch.targets)) * batch.count
        count += batch.count
    model.train()
    comm = task.group.comm
    return float(comm.allreduce(total) / max(1, comm.allreduce(count)))


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
