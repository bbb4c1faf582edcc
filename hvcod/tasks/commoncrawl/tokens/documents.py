"""The documents of the training part that a run reads: those there are, or some of them.

``--training-window`` reads a share of the documents, in their order. ``--training-examples N``
reads N windows of 32 tokens of these, as pieces of about `PIECE` tokens that are spread evenly over
them; each piece is treated as a document. ``--training-bootstrap`` reads a sample of the documents
or pieces, with replacement.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.resample import part_drawn, part_draws
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
    """Documents that follow each other: all, or those of a window; see `Documents`.

    Attributes:
        begin: The place in the part of their first token.
    """

    def __init__(self, dataset: TokenDataset, span: range) -> None:
        """`span`: the numbers of the documents in the training part."""
        self._dataset = dataset
        there = np.array([shard.documents("training") for shard in dataset.shards])
        before = np.cumsum(there) - there
        self._first, last = (np.clip(edge - before, 0, there) for edge in (span.start, span.stop))
        self.counts = last - self._first
        self.begin = self._place(span.start, before)
        self.tokens = self._place(span.stop, before) - self.begin

    def _place(self, document: int, before: Integers) -> int:
        """Returns the place at which a document begins; the end of the part behind the last one."""
        shard = int(np.searchsorted(before, document, side="right")) - 1
        number = document - int(before[shard])
        inside = self._dataset.columns(shard).read("training/offsets", number, number + 1)
        return self._dataset.begins("training", shard) + int(inside[0])

    def edges(self, shard: int) -> tuple[Integers, Integers]:
        """Returns where each document of a shard begins and ends, as places in the shard."""
        first, count = int(self._first[shard]), int(self.counts[shard])
        offsets = self._dataset.columns(shard).read("training/offsets", first, first + count + 1)
        return offsets[:-1], offsets[1:]


class Pieces:
    """Pieces of some documents, spread evenly over them; see `Documents`.

    One that lies in several shards counts as a document of each.
    """

    def __init__(self, dataset: TokenDataset, tokens: int, whole: Whole) -> None:
        """`tokens` of all pieces together, at most those of the documents."""
        available, count = whole.tokens, -(-tokens // PIECE)
        number = np.arange(count + 1)
        edges = spread(number, count, tokens)
        gaps = spread(number[:-1], count, available - tokens)
        self._starts = whole.begin + edges[:-1] + gaps
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


class Sample:
    """A sample with replacement of documents, as many as there are; see `Documents`.

    The number of tokens is that of the documents: that of the sample is about the same.
    """

    def __init__(self, documents: Documents, seed: int) -> None:
        self._documents, self._seed = documents, seed
        self.tokens = documents.tokens
        self.counts = part_draws(seed, documents.counts)

    def edges(self, shard: int) -> tuple[Integers, Integers]:
        """Returns where each document that is drawn begins and ends, as places in the shard."""
        starts, stops = self._documents.edges(shard)
        drawn = part_drawn(self._seed, shard, len(starts), int(self.counts[shard]))
        return starts[drawn], stops[drawn]


def documents_of(dataset: TokenDataset, share: Share) -> Documents:
    """Returns the documents that all groups together read of the training part.

    Raises:
        UsageError: The part has fewer windows than ``--training-examples``.
    """
    whole = Whole(dataset, share.span(dataset.documents("training")))
    windows = share.number(dataset.tokens("training") // WINDOW, whole.tokens // WINDOW)
    pieces = Pieces(dataset, windows * WINDOW, whole) if share.examples is not None else None
    documents: Documents = pieces or whole
    return documents if share.sample is None else Sample(documents, share.sample)
