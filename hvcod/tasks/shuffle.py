"""Shares and orders of the training data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvcod.config import TrainOptions
from hvcod.groups.split import Group


@dataclass(frozen=True)
class Share:
    """The part of the training data that one group reads, and the seed of its order.

    It is the same in each epoch. With a bootstrap it is a sample with replacement, as large as what
    it is drawn from: of n items, an epoch has n draws.
    """

    seed: int  # the same in all groups
    group: int = 0
    groups: int = 1
    same_data: bool = False  # every group reads all data, in its own order
    bootstrap: bool = False  # every group reads a sample of its items, or of all

    @classmethod
    def of(cls, options: TrainOptions, group: Group) -> "Share":
        """Returns the share of a group of a run."""
        same, bootstrap = options.same_data, options.bootstrap
        return cls(options.data_seed, group.index, group.count, same, bootstrap)

    @property
    def slice(self) -> tuple[int, int]:
        """The group's first item and the step to its next one: ``items[first::step]``.

        With a bootstrap its sample is drawn from these.
        """
        return (0, 1) if self.same_data else (self.group, self.groups)

    def draws(self, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns how many items are read of each of some parts, such as the shards: their sizes.

        With a bootstrap they are drawn: they follow the multinomial law, and add up to the same.
        """
        if not self.bootstrap or not sizes.sum():
            return sizes
        # Its streams never change, unlike those of NumPy's newer generators (NEP 19).
        random = np.random.RandomState(np.random.MT19937(self._seeds(3)))
        return random.multinomial(sizes.sum(), sizes / sizes.sum()).astype(np.int64)

    def drawn(self, size: int, draws: int, *part: int) -> npt.NDArray[np.int64]:
        """Returns the items that are read of a part of some size: each of them once.

        With a bootstrap they are `draws` items with replacement.

        Args:
            part: Numbers of the part, if there are several.
        """
        if not self.bootstrap:
            return np.arange(size)
        random = np.random.PCG64(self._seeds(4, *part)).random_raw(draws)
        return (random % np.uint64(max(1, size))).astype(np.int64)

    def _seeds(self, purpose: int, *part: int) -> np.random.SeedSequence:
        return np.random.SeedSequence((self.seed, purpose, self.group, *part))


def shuffled(count: int, *seed: int) -> npt.NDArray[np.int64]:
    """Returns a permutation that follows from the seed, also in later NumPy versions (NEP 19)."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(random, kind="stable").astype(np.int64)
