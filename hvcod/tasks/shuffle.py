"""Shares, samples and orders of the training data."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.groups.split import Group
from hvcod.tasks.numbered import ordered
from hvcod.tasks.resample import bootstrap, drawn, draws
from hvcod.values import Window

log = logging.getLogger("hvcod.tasks")

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """The part of the training data that one group reads, and the seed of its order.

    It is the same in each epoch. With a bootstrap it is a sample with replacement, as large as what
    it is drawn from: of n items, an epoch has n draws.

    All groups together read some examples of the training part (`chosen`): those of
    ``--training-window``; of these ``--training-examples``, spread evenly; and of these a sample
    with replacement, with ``--training-bootstrap``. They are the same for all groups, seeds of the
    order and ranks.
    """

    seed: int  # the same in all groups
    group: int = 0
    groups: int = 1
    same_data: bool = False  # every group reads all data, in its own order
    bootstrap: bool = False  # every group reads a sample of its items, or of all
    examples: int | None = None  # all that are read of the training part; None: those there are
    within: Window | None = None  # where these lie in the training part
    sample: int | None = None  # the seed of the sample of these that is read; None: each once
    reports: bool = False  # whether it logs what is read

    @classmethod
    def of(cls, options: TrainOptions, group: Group) -> "Share":
        """Returns the share of a group of a run."""
        same, bootstrap = options.same_data, options.bootstrap
        return cls(
            options.data_seed,
            group.index,
            group.count,
            same,
            bootstrap,
            options.training_examples,
            options.training_window,
            options.training_bootstrap,
            reports=group.is_root,
        )

    @property
    def slice(self) -> tuple[int, int]:
        """The group's first item and the step to its next one: ``items[first::step]``.

        With a bootstrap its sample is drawn from these.
        """
        return (0, 1) if self.same_data else (self.group, self.groups)

    def span(self, available: int) -> range:
        """Returns the numbers of the examples in ``--training-window``, of those available.

        Raises:
            UsageError: There are none.
        """
        if self.within is None:
            return range(available)
        span = self.within.of(available)
        if not span:
            raise UsageError(
                f"--training-window {self.within}: there is none of the {available} examples of "
                "the training part in it"
            )
        return span

    def number(self, available: int, inside: int | None = None) -> int:
        """Returns how many of the examples of the training part are read, by all groups together.

        Args:
            inside: How many of those available are in the window, if it is not that share of them.

        Raises:
            UsageError: There are fewer than ``--training-examples``, or there are none.
        """
        there = len(self.span(available)) if inside is None else inside
        if self.examples is not None and self.examples > there:
            where = "" if self.within is None else f" in --training-window {self.within}"
            raise UsageError(
                f"--training-examples {self.examples}: the training part has {there} "
                f"examples{where}; use a smaller number, or leave it out to train on all of them"
            )
        count = there if self.examples is None else self.examples
        if self.reports and (self.within or self.sample is not None):
            log.info("training on %s of the training part's %s", self._words(count), available)
        return count

    def _words(self, count: int) -> str:
        drawn = f", drawn with replacement (--training-bootstrap {self.sample}),"
        where = "" if self.within is None else f" in --training-window {self.within}"
        return f"{count} examples{where}{'' if self.sample is None else drawn}"

    def chosen(self, available: int) -> Integers:
        """Returns the examples of the training part that are read, by their numbers in it.

        They are in ascending order, the same for all groups, seeds of the order and ranks; with
        ``--training-bootstrap`` some of them are there several times. Raises what `number` does.
        """
        count = self.number(available)
        return self.read(np.arange(count), count, available)

    def read(self, numbers: Integers, count: int, available: int) -> Integers:
        """Returns some of the `chosen` examples, by their numbers in the training part.

        Args:
            numbers: Their positions among those chosen, in ascending order.
            count: What `number` returned.
        """
        span = self.span(available)
        return span.start + spread(self.resampled(numbers, count), count, len(span))

    def resampled(self, numbers: Integers, count: int) -> Integers:
        """Returns the items at some positions of the sample of ``--training-bootstrap``.

        Without that option there is no sample, and item i is at position i.

        Args:
            numbers: The positions, in ascending order.
            count: The number of items, and of draws.
        """
        return numbers if self.sample is None else bootstrap(self.sample, count).at(numbers)

    def offsets(self, numbers: Integers, count: int) -> Integers:
        """Returns the positions in that sample from which on there are some items, or later ones.

        Args:
            numbers: The items, in ascending order.
            count: The number of items, and of draws.
        """
        return numbers if self.sample is None else bootstrap(self.sample, count).offsets(numbers)

    def order(self, items: Integers, *seed: int) -> Integers:
        """Returns a permutation of some items, by their numbers, that follows from the seed.

        With ``--training-window`` or ``--training-bootstrap`` those items that two samples share
        have the same order in both: so retrains may differ in their data alone.
        """
        if self.within is None and self.sample is None:
            return shuffled(len(items), *seed)
        return ordered(items, *seed)

    def draws(self, sizes: Integers) -> Integers:
        """Returns how many items are read of each of some parts, such as the shards: their sizes.

        With a bootstrap they are drawn: they follow the multinomial law, and add up to the same.
        """
        return draws(sizes, self.seed, 3, self.group) if self.bootstrap else sizes

    def drawn(self, size: int, count: int, *part: int) -> Integers:
        """Returns the items that are read of a part of some size: each of them once.

        With a bootstrap they are `count` items with replacement.

        Args:
            part: Numbers of the part, if there are several.
        """
        if not self.bootstrap:
            return np.arange(size)
        return drawn(size, count, self.seed, 4, self.group, *part)


def spread(numbers: Integers, count: int, available: int) -> Integers:
    """Returns the numbers of some of `count` items that are spread evenly over those available."""
    each, more = divmod(available, max(1, count))
    return np.asarray(numbers * each + numbers * more // max(1, count))


def shuffled(count: int, *seed: int) -> Integers:
    """Returns a permutation that follows from the seed, also in later NumPy versions (NEP 19)."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(random, kind="stable").astype(np.int64)
