"""Shares and orders of the training data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvcod.config import TrainOptions
from hvcod.groups.split import Group


@dataclass(frozen=True)
class Share:
    """The part of the training data that one group reads, and the seed of its order."""

    seed: int  # the same in all groups
    group: int = 0
    groups: int = 1
    same_data: bool = False  # every group reads all data, in its own order

    @classmethod
    def of(cls, options: TrainOptions, group: Group) -> "Share":
        """Returns the share of a group of a run."""
        return cls(options.data_seed, group.index, group.count, options.same_data)

    @property
    def slice(self) -> tuple[int, int]:
        """The group's first item and the step to its next one: ``items[first::step]``."""
        return (0, 1) if self.same_data else (self.group, self.groups)


def shuffled(count: int, *seed: int) -> npt.NDArray[np.int64]:
    """Returns a permutation that follows from the seed, also in later NumPy versions (NEP 19)."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(random, kind="stable").astype(np.int64)
