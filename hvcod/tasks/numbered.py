"""Random numbers and orders of numbered items, each by its own number: whatever the others are."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Draws = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

COPY = 1 << 40
"""The distance of the numbers of two copies of an item; larger than the number of any item."""

_GOLDEN, _FIRST, _SECOND = (
    np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def uniform(seed: Sequence[int], numbers: npt.NDArray[np.int64], count: int) -> Draws:
    """Returns random numbers in [0, 1) that follow from a seed and a number, ``count`` for each.

    They are numbers of the generator SplitMix64 (Steele et al. 2014) at positions that belong to
    the given number, so they can be drawn in any order.

    Returns:
        float64 [numbers, count].
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    first = numbers.astype(np.uint64)[:, None] * np.uint64(count)
    position = first + np.arange(1, count + 1, dtype=np.uint64)
    state: Words = np.asarray(start + position * _GOLDEN, np.uint64)
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def numbered(items: Integers) -> Integers:
    """Returns a number for each of some items, of which some are there several times.

    The first copy has the number of the item, and every further one a number of its own.
    """
    order = np.argsort(items, kind="stable")
    ordered = items[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    lengths = np.diff(np.append(begins, len(items)))
    copies = np.empty_like(items)
    copies[order] = np.arange(len(items)) - np.repeat(begins, lengths)
    return np.asarray(items + copies * COPY)


def ordered(items: Integers, *seed: int) -> Integers:
    """Returns a permutation that puts items in the order of random keys.

    An item keeps its key, whatever the others are: those that two samples share come in the same
    order in both. Every copy of an item has a key of its own.
    """
    return np.argsort(uniform(seed, numbered(items), 1)[:, 0], kind="stable").astype(np.int64)
