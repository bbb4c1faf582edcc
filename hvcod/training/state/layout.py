"""The layout of a training state, and sharing it out to another number of ranks.

A state file has the parts ``shared`` (the same on all ranks: model, optimiser, teachers, counters)
and ``ranks`` (each rank's own: position in the data, hidden states, random numbers), the tensors of
the latter stacked as [ranks, ...].
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.tensorfile.origin import Origin

OUTLINE = "outline"
"""The name of the tensor in a file that has the outlines of both parts, as JSON text."""


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
    """Returns the rows of a group, which are stacked by the saved ranks, stacked by other ranks.

    Args:
        name: The tensor's, for the message.
        tensor: [saved ranks, ...] with the saved batch size at dimension `rows` of each part.
        about: Says the saved ranks and batch size.
        ranks: The number of ranks now.
        rows: The dimension of each rank's part that counts its examples.

    Raises:
        HvcodError: There is no such dimension, so that the rows cannot be shared out.
    """
    if tensor.dim() < rows + 2 or tensor.shape[rows + 1] != about.batch_size:
        raise HvcodError(
            f"{name} of the state of step {about.step} has no dimension {rows} of "
            f"{about.batch_size} examples to share out: use {about.ranks} ranks per group again"
        )
    everyones = tensor.movedim(0, rows).flatten(rows, rows + 1)
    shape = (*everyones.shape[:rows], ranks, -1, *everyones.shape[rows + 1 :])
    return everyones.reshape(shape).movedim(rows, 0).contiguous()
