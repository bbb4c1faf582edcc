"""Validation: one pass over the validation data, shared out over the ranks of a group."""

import torch
from torch import nn

from hvcod.tasks.base import Task


@torch.no_grad()
def validate(task: Task, model: nn.Module, device: torch.device) -> float:
    """The mean task loss over the validation data, in nats for a cross entropy.

    The hidden state starts anew and is carried through the pass. Collective over the group; every
    rank gets the same number.
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
