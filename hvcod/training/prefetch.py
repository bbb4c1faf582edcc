"""Batches that are made while the previous step computes."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from hvcod.tasks.base import Batch, TrainingData

Position = Mapping[str, Tensor]


class Prefetch:
    """Training data one batch ahead; its position is behind the last batch that was handed out."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        self._position = _position(data)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hvcod-data")
        self._ahead: Future[tuple[Batch, Position]] | None = None

    def next(self) -> Batch:
        """Returns the next batch of this rank; raises what making it raised."""
        ahead = self._ahead or self._thread.submit(self._make)
        batch, self._position = ahead.result()
        self._ahead = self._thread.submit(self._make)
        return batch

    def state_dict(self) -> Position:
        """Returns the position behind the last batch that was handed out."""
        return self._position

    def load_state_dict(self, state: Position, /) -> None:
        """Goes to a position that `state_dict` returned."""
        if self._ahead is not None:
            self._ahead.result()
            self._ahead = None
        self._data.load_state_dict({name: tensor.numpy() for name, tensor in state.items()})
        self._position = _position(self._data)

    def close(self) -> None:
        """Ends the thread; a batch that was made ahead is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _make(self) -> tuple[Batch, Position]:
        return self._data.next(), _position(self._data)


def _position(data: TrainingData) -> Position:
    return {name: torch.from_numpy(array) for name, array in data.state_dict().items()}


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yields the same batches, each made while the one before it is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="hvcod-data") as thread:
        following = thread.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = thread.submit(next, batches, None)
            yield batch
