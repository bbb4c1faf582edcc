"""Samples of the training data with replacement, of any size, from a seed.

A bootstrap of n items has n draws. Its law is exact and its memory small: the items are divided
into cells of consecutive ones, the draws of each cell follow the multinomial law, and inside a cell
every item is as likely (a multinomial sample is that of its strata, given their sizes). So a sample
of billions of rows costs 8 bytes for each cell of `CELL` rows, and any part of it can be read
without the rest. The Poisson bootstrap (Oza and Russell 2001; Chamandy et al. 2012, "Estimating
uncertainty for massive data streams") draws each item's count by itself, which needs no number of
items; but then the size of the sample is random, and known only after a pass over all counts.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

CELL = 512
"""Consecutive items that are drawn from together: a block of rows in a stream, or a part of it."""

_CELLS, _ITEMS = 5, 6  # purposes of a seed; the smaller ones are those of `hvcod.tasks.shuffle`


def draws(sizes: Integers, *seed: int) -> Integers:
    """Returns how often each of some parts is drawn from, by their sizes, which have the same sum.

    They follow the multinomial law, and from the seed.
    """
    if not sizes.sum():
        return sizes
    # Its streams never change, unlike those of NumPy's newer generators (NEP 19).
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    return random.multinomial(sizes.sum(), sizes / sizes.sum()).astype(np.int64)


def drawn(size: int, count: int, *seed: int) -> Integers:
    """Returns `count` of the items 0 to size - 1, with replacement, that follow from the seed."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return (random % np.uint64(max(1, size))).astype(np.int64)


def part_draws(seed: int, sizes: Integers) -> Integers:
    """Returns how many items a bootstrap of several parts, such as shards, draws from each."""
    return draws(sizes, seed, _CELLS)


def part_drawn(seed: int, part: int, size: int, count: int) -> Integers:
    """Returns the items that a bootstrap draws from a part, in ascending order."""
    return np.sort(drawn(size, count, seed, _ITEMS, part))


class Bootstrap:
    """A sample with replacement of `count` items: it has as many, in ascending order."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count
        sizes = np.full(-(-count // CELL), CELL, dtype=np.int64)
        if count % CELL:
            sizes[-1] = count % CELL
        self._ends = np.concatenate([[0], np.cumsum(part_draws(seed, sizes))])

    def at(self, positions: Integers) -> Integers:
        """Returns the items at some positions of the sample, which are in ascending order."""
        found = np.empty_like(positions)
        if not len(positions):
            return found
        first, last = np.searchsorted(self._ends, positions[[0, -1]], side="right") - 1
        for cell in range(first, last + 1):
            begin, end = self._ends[cell : cell + 2]
            here = slice(*np.searchsorted(positions, (begin, end)))
            found[here] = cell * CELL + self._items(cell)[positions[here] - begin]
        return found

    def offsets(self, items: Integers) -> Integers:
        """Returns the first position that holds each of some items or a later one.

        The items are in ascending order. It takes little time if they begin cells.
        """
        cells, inside = np.divmod(items, CELL)
        found = self._ends[cells]
        partial = np.flatnonzero(inside)
        for some in np.split(partial, np.flatnonzero(np.diff(cells[partial])) + 1):
            if len(some):
                found[some] += np.searchsorted(self._items(int(cells[some[0]])), inside[some])
        return found

    def _items(self, cell: int) -> Integers:
        """Returns the draws from a cell, as positions in it, in ascending order."""
        count = int(self._ends[cell + 1] - self._ends[cell])
        return part_drawn(self._seed, cell, min(CELL, self._count - cell * CELL), count)


bootstrap = lru_cache(4)(Bootstrap)
"""Returns the `Bootstrap` of a seed and a number of items; the last ones are kept."""
