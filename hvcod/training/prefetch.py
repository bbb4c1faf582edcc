"""Batches that are made while the step before them computes."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from hvcod.tasks.base import Batch, TrainingData

Position = Mapping[str, np.ndarray]


class Prefetch:
    """Training data one batch ahead; its position is that of the batches that were handed out.

    Attributes:
        waited: Seconds for which the training loop waited for a batch.
    """

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        self._position = data.state_dict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hvcod-data")
        self._ahead: Future[tuple[Batch, Position]] | None = None
        self.waited = 0.0

    def next(self) -> Batch:
        """The next batch of this rank.

        Raises:
            Exception: What making it raised.
        """
        begun = time.perf_counter()
        ahead = self._ahead or self._thread.submit(self._make)
        batch, self._position = ahead.result()
        self.waited += time.perf_counter() - begun
        self._ahead = self._thread.submit(self._make)
        return batch

    def state_dict(self) -> Position:
        """The position behind the last batch that was handed out."""
        return self._position

    def load_state_dict(self, state: Position) -> None:
        """Goes to a position that `state_dict` gave."""
        if self._ahead is not None:
            self._ahead.result()
            self._ahead = None
        self._data.load_state_dict(state)
        self._position = self._data.state_dict()

    def close(self) -> None:
        """Ends the thread; what was made ahead is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _make(self) -> tuple[Batch, Position]:
        return self._data.next(), self._data.state_dict()


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made while the one before it is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="hvcod-data") as thread:
        following = thread.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = thread.submit(next, batches, None)
            yield batch
