"""The documents of the training part that a run reads: those there are, or pieces of them.

``--training-examples N`` reads N windows of the part as pieces of about `PIECE` tokens that are
spread evenly over it. Each piece is treated as a document.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.shuffle import Share, spread

WINDOW = 32
"""Tokens of one document that a step reads (paper section 3.1)."""

PIECE = 2048
"""The largest number of tokens of a piece; all have about as many."""

Integers = npt.NDArray[np.int64]


class Documents(Protocol):
    """The documents of the training part, by shards.

    Attributes:
        counts: The number of documents of each shard.
        tokens: Those of all documents together.
    """

    counts: Integers
    tokens: int

    def edges(self, shard: int) -> tuple[Integers, Integers]:
        """Returns where each document of a shard begins and ends, as places in the shard."""


class Whole:
    """All documents; see `Documents`."""

    def __init__(self, dataset: TokenDataset) -> None:
        self._dataset = dataset
        self.counts = np.array([shard.documents("training") for shard in dataset.shards])
        self.tokens = dataset.tokens("training")

    def edges(self, shard: int) -> tuple[Integers, Integers]:
        """Returns where each document of a shard begins and ends, as places in the shard."""
        offsets = self._dataset.columns(shard).read("training/offsets")
        return offsets[:-1], offsets[1:]


class Pieces:
    """Pieces of the training part, spread evenly over it; see `Documents`.

    One that lies in several shards counts as a document of each.
    """

    def __init__(self, dataset: TokenDataset, tokens: int) -> None:
        """`tokens` of all pieces together, at most those of the part."""
        available, count = dataset.tokens("training"), -(-tokens // PIECE)
        number = np.arange(count + 1)
        edges = spread(number, count, tokens)
        self._starts = edges[:-1] + spread(number[:-1], count, available - tokens)
        self._stops = self._starts + np.diff(edges)
        shards = range(len(dataset.shards) + 1)
        self._shards = np.array([dataset.begins("training", shard) for shard in shards])
        self.counts = np.array([len(self.edges(shard)[0]) for shard in shards[:-1]])
        self.tokens = tokens

    def edges(self, shard: int) -> tuple[Integers, Integers]:
        """Returns where each piece of a shard begins and ends, as places in the shard."""
        begin, end = self._shards[shard : shard + 2]
        first = np.searchsorted(self._stops, begin, side="right")
        last = np.searchsorted(self._starts, end)
        here = slice(first, max(first, last))
        starts = np.maximum(self._starts[here], begin) - begin
        return starts, np.minimum(self._stops[here], end) - begin


def documents_of(dataset: TokenDataset, share: Share) -> Documents:
    """Returns the documents that all groups together read of the training part.

    Raises:
        UsageError: The part has fewer windows than ``--training-examples``.
    """
    windows = share.number(dataset.tokens("training") // WINDOW)
    return Whole(dataset) if share.examples is None else Pieces(dataset, windows * WINDOW)
