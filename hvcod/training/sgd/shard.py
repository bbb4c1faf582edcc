"""One rank's share of the parameters with dense gradients, as bytes in a window."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hvcod.config import OptimizerOptions
from hvcod.training.sgd.averages import Averages, averages_of, make_averages, set_updates
from hvcod.training.sgd.optimizers import dense_optimizer

_HEADER = 64  # the number of updates, and room up to a cache line
_ALIGNED = 64


class Piece(NamedTuple):
    """A part of a parameter, in elements of its flat form."""

    name: str
    parameter: nn.Parameter
    start: int
    stop: int

    def of(self, tensor: Tensor) -> Tensor:
        """Returns this part of the parameter, or of a tensor of its shape; a view, flat."""
        return tensor.detach().view(-1)[self.start : self.stop]


def cut(parameters: Mapping[str, nn.Parameter], ranks: int) -> list[list[Piece]]:
    """Returns the pieces of each rank: equal shares of all elements, in the parameters' order."""
    total = sum(parameter.numel() for parameter in parameters.values())
    bounds = [total * rank // ranks for rank in range(ranks + 1)]
    shares: list[list[Piece]] = [[] for _ in range(ranks)]
    first = 0
    for name, parameter in parameters.items():
        end = first + parameter.numel()
        for rank, share in enumerate(shares):
            start, stop = max(first, bounds[rank]), min(end, bounds[rank + 1])
            if start < stop:
                share.append(Piece(name, parameter, start - first, stop - first))
        first = end
    return shares


class DenseShard:
    """A share: an image of its bytes, and how an update changes them.

    The image has the number of updates, then the weights, then the optimiser's averages.

    Attributes:
        optimizer: Updates the image; None if the share is empty.
        image: The bytes, uint8, as they were when they were read or written last.
        weights: The first bytes of the image: all but the averages.
    """

    def __init__(self, pieces: Sequence[Piece], options: OptimizerOptions) -> None:
        self._pieces = pieces
        self._values = [nn.Parameter(_shaped(piece, piece.parameter).clone()) for piece in pieces]
        self.optimizer = dense_optimizer(self._values, options) if pieces else None
        if self.optimizer:
            make_averages(self.optimizer)
        self._map()

    @property
    def updates(self) -> int:
        """The number of updates that were applied to the share."""
        return int(self._updates)

    def update(self) -> None:
        """Applies this rank's gradients to the image."""
        for piece, value in zip(self._pieces, self._values, strict=True):
            gradient = piece.parameter.grad
            value.grad = None if gradient is None else _shaped(piece, gradient.contiguous())
        if self.optimizer:
            set_updates(self.optimizer, self.updates)
            self.optimizer.step()
        self._updates += 1

    def hand_out(self) -> None:
        """Puts the image's weights into the model."""
        for piece, value in zip(self._pieces, self._values, strict=True):
            piece.of(piece.parameter).copy_(value.detach().view(-1))

    def take_over(self, updates: int, averages: Averages | None) -> None:
        """Makes the image one of the model's weights, after so many updates.

        Without averages they stay as they are: at first, as a new optimiser has them.
        """
        self._updates.fill_(updates)
        for piece, value in zip(self._pieces, self._values, strict=True):
            value.detach().copy_(_shaped(piece, piece.parameter))
        if averages is not None:
            for piece, name, average in self._averages():
                average.copy_(_shaped(piece, averages[piece.name][name]))

    def collect(self, averages: Averages) -> None:
        """Copies the image's averages to their places in whole ones, which are made if needed."""
        for piece, name, average in self._averages():
            wholes = averages.setdefault(piece.name, {})
            if name not in wholes:
                wholes[name] = torch.empty(piece.parameter.shape, dtype=average.dtype)
            piece.of(wholes[name]).copy_(average.view(-1))

    def _averages(self) -> Iterator[tuple[Piece, str, Tensor]]:
        for piece, value in zip(self._pieces, self._values, strict=True):
            for name, average in averages_of(self.optimizer, value).items():
                yield piece, name, average

    def _map(self) -> None:
        """Moves weights and averages into one piece of memory, the image."""
        averages = [average for _, _, average in self._averages()]
        tensors = [*(value.detach() for value in self._values), *averages]
        starts = [_HEADER]
        for tensor in tensors:
            starts.append(starts[-1] + -(-tensor.nbytes // _ALIGNED) * _ALIGNED)
        whole = torch.zeros(starts[-1], dtype=torch.uint8)
        places = [
            whole[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
            for tensor, start in zip(tensors, starts, strict=False)
        ]
        for value, place in zip(self._values, places, strict=False):
            value.data = place
        moved = iter(places[len(self._values) :])
        for value in self._values:
            for name in averages_of(self.optimizer, value):
                assert self.optimizer is not None
                self.optimizer.state[value][name] = next(moved)
        self._updates = whole[:8].view(torch.int64)
        self.image = whole.numpy()
        self.weights = self.image[: starts[len(self._values)]]


def _shaped(piece: Piece, tensor: Tensor) -> Tensor:
    """Returns a piece of a tensor on the host; a matrix stays one, as weight decay goes by that."""
    return piece.of(tensor).cpu().view((1, -1) if piece.parameter.dim() > 1 else (-1,))
