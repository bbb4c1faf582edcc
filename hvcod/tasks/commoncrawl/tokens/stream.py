"""The training stream (paper section 3.1).

A *lane* is one row of the batch. It reads one document after the other in windows of 32 tokens; its
hidden state is never reset. A group of R ranks with batch B has R x B lanes and rank r feeds lanes
r x B to (r + 1) x B, so the content of a lane does not depend on the number of ranks.

Every group has its own documents, the same in each epoch (or, on request, all of them in its own
order; or a sample of these with replacement, a bootstrap). Options choose some of the documents, or
pieces of them (`tokens.documents`). In an epoch a group walks through the shards in a new order,
through each shard's documents in a new order, and deals them to its lanes in turn. A long document
is dealt as several pieces. A lane that has finished an epoch begins the next one without waiting
for the others.

Only the indices of the few shards in use are in memory, however many there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.base import Batch
from hvcod.tasks.columns import Columns
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset, Tokens
from hvcod.tasks.commoncrawl.tokens.documents import WINDOW, documents_of
from hvcod.tasks.shuffle import Share

LONGEST_PIECE = 2048
"""Documents with more tokens are dealt to the lanes in pieces of this size.

Few documents of Common Crawl are longer (they have 735 tokens on average, section 3.1). Books are
hundreds of times as long: if they were read in one piece, a small batch would learn a handful of
them by heart.
"""

PIECES_PER_LANE = 4
"""The smallest number of pieces per lane and epoch; with little data, pieces get smaller."""

DEALS_IN_MEMORY = 64
"""Shards whose indices are kept in memory. Lanes drift apart, as their documents differ in length:
some are several shards ahead of others."""

POSITION = ("epoch", "shard", "unit", "offset")

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Deal:
    """The token ranges that a group reads of one shard in one epoch, dealt to its lanes in turn."""

    shard: Columns
    place: int  # of the shard's first token in the part
    starts: Integers
    stops: Integers
    first: Integers  # range of each lane; its next one comes as many later as there are lanes

    def units(self, lane: int) -> int:
        """Returns the number of ranges of a lane."""
        return max(0, -(-(len(self.starts) - int(self.first[lane])) // len(self.first)))

    def range(self, lane: int, unit: int) -> tuple[int, int]:
        """Returns begin and end of one of a lane's ranges."""
        index = int(self.first[lane]) + unit * len(self.first)
        return int(self.starts[index]), int(self.stops[index])


class GroupShare:
    """The documents of one group and the order in which each epoch deals them to its lanes.

    Attributes:
        shards: Shards in an epoch.

    Raises:
        UsageError: There is too little data for so many groups and lanes.
    """

    def __init__(self, dataset: TokenDataset, share: Share, lane_count: int) -> None:
        self.dataset, self.lane_count = dataset, lane_count
        self._share, self._seed, self._group = share, share.seed, share.group
        self._slot, self._slots = share.slice
        self._documents = documents_of(dataset, share)
        counts = self._documents.counts
        documents, tokens = counts.sum(), self._documents.tokens // self._slots
        self._longest = min(LONGEST_PIECE, tokens // (PIECES_PER_LANE * lane_count))
        if documents < self._slots or self._longest < 2 * WINDOW:
            raise UsageError(
                f"{dataset.folder} has {documents} training documents with {tokens} tokens for "
                f"each of {self._slots} groups: too few for {lane_count} rows of {WINDOW} tokens; "
                "use more data, or a smaller --batch-size, fewer ranks or --same-data"
            )
        self._before = np.concatenate([[0], np.cumsum(counts)])
        self._filled = np.flatnonzero(counts)
        first = [self._first(shard) for shard in range(len(counts))]
        own = [len(range(*each, self._slots)) for each in zip(first, counts, strict=True)]
        self._draws = share.draws(np.array(own))
        self.shards = len(self._filled)
        self.deal = lru_cache(DEALS_IN_MEMORY)(self._deal)
        self._order = lru_cache(DEALS_IN_MEMORY)(self._shard_order)

    def documents(self, shard: int) -> Integers:
        """Returns the documents of a shard that are this group's, in every epoch.

        With a bootstrap they are drawn from these with replacement.
        """
        starts, _ = self._documents.edges(shard)
        order = self._share.order(starts, self._seed, 0, shard)
        own = order[self._first(shard) :: self._slots]
        return own[self._share.drawn(len(own), int(self._draws[shard]), shard)]

    def _first(self, shard: int) -> int:
        """Returns the first place of this group in the order of a shard."""
        return (self._slot - int(self._before[shard])) % self._slots

    def _shard_order(self, epoch: int) -> Integers:
        order = self._share.order(self._filled, self._seed, 1, epoch, self._group)
        return np.asarray(self._filled[order])

    def _deal(self, epoch: int, position: int) -> Deal:
        shard = int(self._order(epoch)[position])
        seed = (self._seed, 2, epoch, self._group, shard)
        mine = self.documents(shard)
        opened = self.dataset.columns(shard)
        starts, stops = (edges[mine] for edges in self._documents.edges(shard))
        order = self._share.order(starts, *seed)
        starts, stops = starts[order], stops[order]
        starts, stops = _cut(starts, stops, self._longest)
        turn = int(np.random.SeedSequence(seed).generate_state(1)[0]) % self.lane_count
        first = (np.arange(self.lane_count) - turn) % self.lane_count
        return Deal(opened, self.dataset.begins("training", shard), starts, stops, first)


def _cut(starts: Integers, stops: Integers, longest: int) -> tuple[Integers, Integers]:
    """Cuts ranges into consecutive pieces of at most ``longest``."""
    pieces = -(-(stops - starts) // longest)
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = np.repeat(starts, pieces) + number * longest
    return begin, np.minimum(begin + longest, np.repeat(stops, pieces))


class _Lane:
    """One row of the batch: an endless sequence of tokens and the exact place in it."""

    def __init__(self, share: GroupShare, lane: int) -> None:
        self._share, self._lane = share, lane
        self._held = (0, 0), share.deal(0, 0)
        self.move_to((0, 0, 0, 0))

    def move_to(self, position: tuple[int, int, int, int]) -> None:
        """Goes to (epoch, shard in the epoch's order, range of this lane, token in it)."""
        *unit, self._offset = position
        self._units: list[tuple[int, int, int]] = []
        self._tokens: list[Tokens] = []
        self._places: list[Integers] = []
        self._append(*self._existing(*unit))
        if self._offset >= max(1, len(self._tokens[0])):
            raise HvcodError(
                f"{self._share.dataset.folder} is not the data that the saved run was reading"
            )

    def position(self) -> tuple[int, int, int, int]:
        """Returns the position of the next token, as for `move_to`."""
        return *self._units[0], self._offset

    def fill(self, row: Integers, places: Integers) -> None:
        """Copies the next tokens into a row, and their places in the part into another.

        It moves on by all but the last of them.
        """
        begin, end = self._offset, self._offset + len(row)
        while sum(map(len, self._tokens)) < end:
            epoch, shard, unit = self._units[-1]
            self._append(*self._existing(epoch, shard, unit + 1))
        for into, pieces in ((row, self._tokens), (places, self._places)):
            into[:] = (pieces[0] if len(pieces) == 1 else np.concatenate(pieces))[begin:end]
        self._offset = end - 1
        while self._offset >= len(self._tokens[0]):
            self._offset -= len(self._tokens.pop(0))
            self._places.pop(0)
            self._units.pop(0)

    def _existing(self, epoch: int, shard: int, unit: int) -> tuple[int, int, int]:
        """Returns the unit, or the next one if shard or epoch have no more for this lane."""
        while True:
            if shard >= self._share.shards:
                epoch, shard, unit = epoch + 1, 0, 0
            if unit < self._deal(epoch, shard).units(self._lane):
                return epoch, shard, unit
            shard, unit = shard + 1, 0

    def _append(self, epoch: int, shard: int, unit: int) -> None:
        deal = self._deal(epoch, shard)
        start, stop = deal.range(self._lane, unit)
        self._units.append((epoch, shard, unit))
        self._tokens.append(deal.shard.read("training/tokens", start, stop))
        self._places.append(np.arange(deal.place + start, deal.place + stop))

    def _deal(self, epoch: int, shard: int) -> Deal:
        """Returns the deal of a shard; the one in use is kept, whatever the other lanes do."""
        if self._held[0] != (epoch, shard):
            self._held = (epoch, shard), self._share.deal(epoch, shard)
        return self._held[1]


class TokenStream:
    """The endless training batches of one rank.

    Args:
        dataset: The tokens.
        share: The group's share of them.
        lanes: The lanes of this rank; rank r of a group with batch B has r x B to (r + 1) x B.
        lane_count: Lanes of the group, over all its ranks.
        window: Tokens per row and step.

    Raises:
        UsageError: There is too little data for so many groups and lanes.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        share: Share,
        *,
        lanes: range,
        lane_count: int,
        window: int = WINDOW,
    ) -> None:
        documents = GroupShare(dataset, share, lane_count)
        self._window = window
        self._lanes = [_Lane(documents, lane) for lane in lanes]

    def next(self) -> Batch:
        """Returns inputs and the tokens that follow as targets, both int64 [rows, window]."""
        batch, places = np.empty((2, len(self._lanes), self._window + 1), dtype=np.int64)
        for lane, *rows in zip(self._lanes, batch, places, strict=True):
            lane.fill(*rows)
        tokens, predicted = torch.from_numpy(batch), places[:, 1:].ravel()
        return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), places=predicted)

    def state_dict(self) -> dict[str, Integers]:
        """Returns the position of every lane: int64 [rows] for epoch, shard, unit and offset.

        The rows of several ranks, joined in the order of the lanes, are the state of the group,
        which any other division into ranks can load.
        """
        positions = np.array([lane.position() for lane in self._lanes], dtype=np.int64)
        return {name: positions[:, column].copy() for column, name in enumerate(POSITION)}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Puts every lane back to a position that `state_dict` returned.

        Raises:
            HvcodError: The state is that of another number of rows or of other data.
        """
        rows = [len(state[name]) for name in POSITION]
        if rows != [len(self._lanes)] * len(POSITION):
            raise HvcodError(
                f"the saved position in the data is that of {rows[0]} rows, this run has "
                f"{len(self._lanes)}: use the batch size and ranks of the saved run"
            )
        columns = [state[name].tolist() for name in POSITION]
        for lane, position in zip(self._lanes, zip(*columns, strict=True), strict=True):
            lane.move_to(position)
