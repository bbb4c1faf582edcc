"""What a training state holds, and how a group's share of it changes with its number of ranks.

A state file has the parts ``shared`` (the same on all ranks: model, optimiser, teachers, counters)
and ``ranks`` (each rank's own: place in the data, hidden states, random numbers), the tensors of
the latter stacked as [ranks, ...].
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.tensorfile.origin import Origin

OUTLINE = "outline"
"""The name under which the outlines of both parts lie in the file, as JSON text."""


@dataclass
class State:
    """A training state as the group root reads it.

    Attributes:
        about: Where it comes from.
        shared: Outline of what is the same on all ranks.
        ranks: Outline of each rank's own.
        tensors: The tensors of both by name; those of `ranks` stacked as [ranks, ...].
    """

    about: Origin
    shared: Any
    ranks: Any
    tensors: dict[str, Tensor]


def share_out(name: str, tensor: Tensor, about: Origin, ranks: int, rows: int) -> Tensor:
    """The rows of a group, stacked by saved ranks, stacked anew by other ranks.

    Args:
        name: Of the tensor, for the message.
        tensor: [saved ranks, ...] with the saved batch size at dimension `rows` of each part.
        about: Tells the saved ranks and batch size.
        ranks: How many there are now.
        rows: The dimension of each rank's part that counts its examples.

    Raises:
        HvcodError: There is no such dimension, so that nobody can say which part is whose.
    """
    if tensor.dim() < rows + 2 or tensor.shape[rows + 1] != about.batch_size:
        raise HvcodError(
            f"{name} of the state of step {about.step} has no dimension {rows} of "
            f"{about.batch_size} examples to share out: use {about.ranks} ranks per group, as then"
        )
    everyones = tensor.movedim(0, rows).flatten(rows, rows + 1)
    shape = (*everyones.shape[:rows], ranks, -1, *everyones.shape[rows + 1 :])
    return everyones.reshape(shape).movedim(rows, 0).contiguous()
