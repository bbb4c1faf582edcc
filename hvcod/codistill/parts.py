"""A batch that is learned in parts, and the hidden states of its rows.

A hidden state has a row for each example of a batch. If a batch is learned in parts, each part goes
on from the state of its own rows. Until all parts are through, the state is a *partial* one: what
was before the batch, and what came of the parts so far. Both kinds are trees, as `hvcod.tree` has
them, so that they are saved and sent alike.
"""

from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.tree import map_tensors, put_together, take_apart

_BEFORE, _DONE, _COUNT = "before the batch", "done parts", "parts of the batch"


class IndivisibleError(HvcodError):
    """A tensor has no equal parts."""


@dataclass(frozen=True)
class Part:
    """One of some equal parts of the rows of a batch, in their order.

    Attributes:
        index: Its number, from 0.
        count: The number of parts.
        of: The part that these are parts of; None: a whole batch.
    """

    index: int = 0
    count: int = 1
    of: Optional["Part"] = None

    @property
    def whole(self) -> "Part":
        """This part, counted among all parts of the whole batch."""
        if self.of is None:
            return self
        outer = self.of.whole
        return Part(outer.index * self.count + self.index, outer.count * self.count)

    def rows(self, tensor: Tensor, dimension: int = 0) -> Tensor:
        """Returns the rows of a tensor that belong to the part; a view.

        Raises:
            IndivisibleError: The dimension does not divide into equal parts.
        """
        size = tensor.shape[dimension] if tensor.dim() > dimension else 0
        if not size or size % self.count:
            shape = tuple(tensor.shape)
            raise IndivisibleError(
                f"a tensor of shape {shape} has no {self.count} equal parts in its dimension "
                f"{dimension}: a batch that is learned in parts needs one that counts examples"
            )
        share = size // self.count
        return tensor.narrow(dimension, self.index * share, share)

    def before(self, state: Any, dimension: int) -> Any:
        """Returns the hidden state with which this part begins; `dimension` counts its rows."""
        part, state = self.whole, self.settled(state, dimension)
        return _part_of(state[_BEFORE] if _is_partial(state) else state, part, dimension)

    def after(self, state: Any, mine: Any, dimension: int) -> Any:
        """Returns the hidden state of the batch once this part of it has come to `mine`."""
        part, state = self.whole, self.settled(state, dimension)
        if part.count == 1:
            return mine
        before, done = (state[_BEFORE], state[_DONE]) if _is_partial(state) else (state, {})
        state = {_BEFORE: before, _DONE: {**done, part.index: mine}, _COUNT: part.count}
        return _joined(state, dimension) if part.index == part.count - 1 else state

    def settled(self, state: Any, dimension: int) -> Any:
        """Returns the state as it is before this part: whole, if that is the first of a batch."""
        is_over = _is_partial(state) and self.whole.index == 0
        return _joined(state, dimension) if is_over else state


WHOLE = Part()


def _is_partial(state: Any) -> bool:
    return isinstance(state, dict) and _DONE in state


def _part_of(state: Any, part: Part, dimension: int) -> Any:
    if part.count == 1 or state is None:
        return state
    return map_tensors(lambda tensor: part.rows(tensor, dimension).contiguous(), state)


def _joined(partial: dict[str, Any], dimension: int) -> Any:
    """Returns the state of all rows; a part that did not come stays as it was before the batch.

    None, so that the state begins anew, if it has not been anything before.
    """
    before, done, count = partial[_BEFORE], partial[_DONE], partial[_COUNT]
    parts = [
        done[index] if index in done else _part_of(before, Part(index, count), dimension)
        for index in range(count)
    ]
    if any(part is None for part in parts):
        return None
    outline, _ = take_apart(parts[0], "state")
    tensors = [take_apart(part, "state")[1] for part in parts]
    joined = {name: torch.cat([each[name] for each in tensors], dimension) for name in tensors[0]}
    return put_together(outline, joined)
