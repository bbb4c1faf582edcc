"""The training stream: shuffled epochs over more rows than fit into memory.

The training part, or those of its rows that are read (`hvcod.tasks.shuffle.Share`), is divided into
blocks of consecutive rows. Every group has blocks of its own, the same in each epoch (or, on
request, all of them in its own order). In an epoch a group takes its blocks in a new order, some at
a time: the rows of such a *window* are mixed, and follow each other in the group's batches. Windows
and epochs follow each other without a gap, so every row is read once an epoch. With a bootstrap it
is drawn how many rows each block is read for, and which: some rows several times in an epoch, some
never, the same ones in each epoch.

A group of R ranks with batch B reads R x B rows a step, and rank r those from r x B to (r + 1) x B,
so the rows of a step do not depend on the number of ranks. A rank keeps its own rows of two windows
in memory: while one is used, the next one is read, a few blocks a step.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.base import UNKNOWN, Batch
from hvcod.tasks.criteo.dataset import ClickDataset, Examples
from hvcod.tasks.shuffle import Share

BLOCK_ROWS = 512
"""Rows that are read at once."""

WINDOW_BLOCKS = 128
"""Blocks whose rows are mixed."""

BLOCKS_PER_GROUP = 64
"""The smallest number of blocks of a group; with little data, blocks get smaller."""

Integers = npt.NDArray[np.int64]


def batch_of(examples: Examples, places: Integers, ids: Integers | None = None) -> Batch:
    """Returns rows as a batch: (integers, categories), and labels as targets.

    Args:
        places: The numbers of the rows in their part.
    """
    integers, categories = (torch.tensor(column) for column in examples[:2])
    known = examples.labels >= 0
    targets = torch.from_numpy(np.where(known, examples.labels, UNKNOWN).astype(np.int64))
    return Batch((integers, categories), targets, ids, places=places)


class Block(NamedTuple):
    """A block: its rows, in ascending order, and the places among them of those that are read."""

    rows: Integers
    drawn: Integers


class GroupRows:
    """The rows of one group, and the order in which it reads them.

    Attributes:
        batch: Rows of the group's step, over all its ranks.
        part: The rows of the training part.
        count: Rows of an epoch.
        windows: Windows of an epoch.

    Raises:
        UsageError: There are too few rows for so many groups and so large a batch.
    """

    def __init__(self, dataset: ClickDataset, share: Share, batch: int) -> None:
        self.dataset, self.batch = dataset, batch
        self.part = dataset.part("training")
        self._share, self._seed, self._group = share, share.seed, share.group
        slot, slots = share.slice
        self._rows = rows = share.number(len(self.part))
        self._block = max(1, min(BLOCK_ROWS, rows // (slots * BLOCKS_PER_GROUP)))
        # Blocks begin at multiples of their size in the part, whatever window of it is read; those
        # of a sample where its cells begin.
        self._begin = share.span(len(self.part)).start if share.sample is None else 0
        first, last = self._begin // self._block, (self._begin + rows - 1) // self._block
        numbers = np.arange(first, last + 1)
        edges = np.clip(np.arange(first, last + 2) * self._block - self._begin, 0, rows)
        self._edges = share.offsets(edges, rows)
        self._blocks = share.order(numbers, self._seed, 0)[slot::slots]
        self._draws = np.zeros(len(numbers), dtype=np.int64)
        self._draws[self._blocks] = share.draws(np.diff(self._edges)[self._blocks])
        self.count = int(self._draws.sum())
        if self.count < batch:
            raise UsageError(
                f"{dataset.folder} has {rows} training rows, {self.count} for each of {slots} "
                f"groups: too few for a batch of {batch}; use more rows, a smaller --batch-size, "
                "fewer ranks or --same-data"
            )
        self.windows = -(-len(self._blocks) // WINDOW_BLOCKS)
        self._order = lru_cache(2)(self._epoch_order)

    def begins(self, epoch: int) -> Integers:
        """Returns where the windows of an epoch begin in the group's sequence, and its end."""
        ends = np.cumsum([0, *self._draws[self._order(epoch)]])
        return np.append(ends[:-1:WINDOW_BLOCKS], ends[-1]) + epoch * self.count

    def window(self, epoch: int, window: int) -> tuple[list[Block], Integers]:
        """Returns the blocks of a window, and the order in which all their rows are read."""
        blocks = self._order(epoch)[window * WINDOW_BLOCKS : (window + 1) * WINDOW_BLOCKS]
        chosen = [self._chosen(block) for block in blocks.tolist()]
        numbers = np.concatenate([block.rows[block.drawn] for block in chosen])
        return chosen, self._share.order(numbers, self._seed, 2, epoch, self._group, window)

    def _chosen(self, block: int) -> Block:
        numbers = np.arange(*self._edges[block : block + 2])
        rows = self.part.start + self._share.read(numbers, self._rows, len(self.part))
        return Block(rows, self._share.drawn(len(rows), int(self._draws[block]), block))

    def _epoch_order(self, epoch: int) -> Integers:
        numbers = self._blocks + self._begin // self._block
        order = self._share.order(numbers, self._seed, 1, epoch, self._group)
        return np.asarray(self._blocks[order])


class _Window:
    """One rank's rows of a window, in the order in which they are read; loaded block by block."""

    def __init__(self, rows: GroupRows, lanes: range, epoch: int, window: int) -> None:
        self._dataset = rows.dataset
        self._blocks, order = rows.window(epoch, window)
        begin, self.end = rows.begins(epoch)[window : window + 2].tolist()
        lane = np.arange(begin, self.end) % rows.batch
        mine = np.flatnonzero((lane >= lanes.start) & (lane < lanes.stop))
        self.positions = mine + begin
        numbers = np.concatenate([block.rows[block.drawn] for block in self._blocks])
        self.places = numbers[order[mine]] - rows.part.start
        # For each row of the window its index among this rank's rows, or -1; block by block.
        targets = np.full(len(order), -1)
        targets[order[mine]] = np.arange(len(mine))
        ends = np.cumsum([len(block.drawn) for block in self._blocks])
        self._targets = np.split(targets, ends[:-1])
        self._loaded = 0
        one = self._dataset.examples(rows.part.start, rows.part.start + 1)
        self._examples = Examples(
            *(np.empty((len(mine), *each.shape[1:]), dtype=each.dtype) for each in one)
        )

    def load(self, share: float = 1.0) -> None:
        """Reads blocks until this share of all of them is in memory."""
        while self._loaded < share * len(self._blocks):
            block, target = self._blocks[self._loaded], self._targets[self._loaded]
            wanted = np.flatnonzero(target >= 0)
            if len(wanted):
                read = self._dataset.rows(block.rows)
                for into, column in zip(self._examples, read, strict=True):
                    into[target[wanted]] = column[block.drawn[wanted]]
            self._loaded += 1

    def rows(self, start: int, stop: int) -> Examples:
        """Returns some of this rank's rows."""
        return Examples(*(column[start:stop] for column in self._examples))


class RowStream:
    """The endless training rows of one rank.

    Of each step's rows of the group it takes its lanes, those from r x B to (r + 1) x B.
    """

    def __init__(self, rows: GroupRows, lanes: range) -> None:
        self._rows, self._lanes = rows, lanes
        self._move_to(0)

    def next(self) -> Batch:
        """Returns the rows of the next step."""
        parts, places, missing = [], [], len(self._lanes)
        while missing:
            part = self._window.rows(self._used, self._used + missing)
            places.append(self._window.places[self._used : self._used + missing])
            self._used += len(part.labels)
            missing -= len(part.labels)
            parts.append(part)
            if self._used == len(self._window.positions):
                self._enter(*self._following(), 0)
        # A window that is shorter than a batch may hold no row of this rank.
        self._ahead.load(self._used / max(1, len(self._window.positions)))
        self._step += 1
        examples = Examples(*map(np.concatenate, zip(*parts, strict=True)))
        return batch_of(examples, np.concatenate(places))

    def state_dict(self) -> dict[str, Integers]:
        """Returns the position of every lane's next row in the group's sequence, int64 [rows]."""
        return {"position": self._position(self._step)}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Puts the stream back to a position that `state_dict` returned.

        Raises:
            HvcodError: The state is that of another batch.
        """
        position = state["position"]
        step = int(position[0]) // self._rows.batch if len(position) else 0
        if not np.array_equal(position, self._position(step)):
            raise HvcodError(
                f"the saved position in the data is that of {len(position)} rows of another batch, "
                f"this rank has {len(self._lanes)} of {self._rows.batch}: use the batch size and "
                "ranks of the saved run, or others with the same --group-batch-size"
            )
        self._move_to(step)

    def _position(self, step: int) -> Integers:
        return step * self._rows.batch + np.array(self._lanes)

    def _move_to(self, step: int) -> None:
        self._step = step
        position = step * self._rows.batch + self._lanes.start
        epoch = position // self._rows.count
        begins = self._rows.begins(epoch)
        window = int(np.searchsorted(begins, position, side="right")) - 1
        self._ahead = _Window(self._rows, self._lanes, epoch, window)
        self._enter(epoch, window, position)

    def _enter(self, epoch: int, window: int, position: int) -> None:
        """Goes on with a window, the one ahead, from a position on."""
        self._place = epoch, window
        self._window = self._ahead
        self._window.load()
        self._used = int(np.searchsorted(self._window.positions, position))
        self._ahead = _Window(self._rows, self._lanes, *self._following())

    def _following(self) -> tuple[int, int]:
        epoch, window = self._place
        return (epoch, window + 1) if window + 1 < self._rows.windows else (epoch + 1, 0)
