"""Shares and orders of the training data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.groups.split import Group

Integers = npt.NDArray[np.int64]


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
    examples: int | None = None  # all that are read of the training part; None: those there are

    @classmethod
    def of(cls, options: TrainOptions, group: Group) -> "Share":
        """Returns the share of a group of a run."""
        same, bootstrap = options.same_data, options.bootstrap
        examples = options.training_examples
        return cls(options.data_seed, group.index, group.count, same, bootstrap, examples)

    @property
    def slice(self) -> tuple[int, int]:
        """The group's first item and the step to its next one: ``items[first::step]``.

        With a bootstrap its sample is drawn from these.
        """
        return (0, 1) if self.same_data else (self.group, self.groups)

    def number(self, available: int) -> int:
        """Returns how many of the examples of the training part are read, by all groups together.

        Raises:
            UsageError: There are fewer than ``--training-examples``.
        """
        if self.examples is not None and self.examples > available:
            raise UsageError(
                f"--training-examples {self.examples}: the training part has {available} "
                "examples; use a smaller number, or leave it out to train on all of them"
            )
        return available if self.examples is None else self.examples

    def chosen(self, available: int) -> Integers:
        """Returns the examples of the training part that are read, by their numbers in it.

        They are spread evenly over the part: the same for all groups, seeds and ranks. Raises what
        `number` does.
        """
        count = self.number(available)
        return spread(np.arange(count), count, available)

    def draws(self, sizes: Integers) -> Integers:
        """Returns how many items are read of each of some parts, such as the shards: their sizes.

        With a bootstrap they are drawn: they follow the multinomial law, and add up to the same.
        """
        if not self.bootstrap or not sizes.sum():
            return sizes
        # Its streams never change, unlike those of NumPy's newer generators (NEP 19).
        random = np.random.RandomState(np.random.MT19937(self._seeds(3)))
        return random.multinomial(sizes.sum(), sizes / sizes.sum()).astype(np.int64)

    def drawn(self, size: int, draws: int, *part: int) -> Integers:
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


def spread(numbers: Integers, count: int, available: int) -> Integers:
    """Returns the places of some of `count` items that are spread evenly over those available."""
    each, more = divmod(available, max(1, count))
    return np.asarray(numbers * each + numbers * more // max(1, count))


def shuffled(count: int, *seed: int) -> Integers:
    """Returns a permutation that follows from the seed, also in later NumPy versions (NEP 19)."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(random, kind="stable").astype(np.int64)
