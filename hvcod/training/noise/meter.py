"""Measures the gradient noise scale while a group trains (``--noise-interval``)."""

import contextlib
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from hvcod.codistill.parts import IndivisibleError
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.groups.split import Group
from hvcod.training.noise.scale import Reading, reading, scale_of
from hvcod.training.sgd.updates import Updates

WINDOW = 64
"""The largest number of readings behind the noise scale of a line of metrics."""


def window_of(readings: int) -> int:
    """Returns how many of so many readings count: the newer half, at most `WINDOW`.

    The first gradients of a training are so much larger than later ones that a mean with them
    would say nothing about now.
    """
    return min(WINDOW, -(-readings // 2))


class NoiseMeter:
    """Takes a reading of every so many steps; of none, if the interval is 0.

    In a group of several ranks their gradients are compared with the mean of these, which changes
    nothing. A group of one rank learns the batch of such a step in two halves, as ``--accumulate``
    does, and compares their gradients with that of the batch. The gradients are those that train:
    with dropout, in the precision of the training, as they travelled between the ranks, before they
    are clipped, and of the task loss and the distillation loss together. While ``--batch-warmup``
    lasts there are no readings.
    """

    def __init__(self, updates: Updates, group: Group, options: TrainOptions) -> None:
        """
        Raises:
            UsageError: A group of one rank cannot halve its batch.
        """
        self._updates, self._group, self._interval = updates, group, options.noise_interval
        self._accumulate, self._batch = options.accumulate, options.batch_size * group.trainers
        self._parts = self._accumulate
        if group.trainers == 1:
            self._parts = math.lcm(2, self._accumulate)
        if self._interval and options.batch_size % self._parts:
            raise UsageError(_cannot_be_halved(options))
        self._readings, self._count = deque[Reading](), 0
        self._new: list[Reading] = []
        self._taught = self._measures = False
        self._term = "distillation" if options.smoothing == "none" else "smoothing"

    def begin(self) -> int:
        """Begins a step; returns the parts in which a whole batch is to be learned."""
        updates = self._updates
        whole = bool(self._interval) and updates.batches_are_whole
        self._measures = whole and (updates.done + 1) % self._interval == 0
        if not self._measures:
            return self._accumulate
        updates.measure(halves_of=self._parts if self._group.trainers == 1 else 0)
        return self._parts

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Names the option if a batch, or its hidden state, cannot be divided for a reading."""
        try:
            yield
        except IndivisibleError as error:
            if not self._measures or self._parts == self._accumulate:
                raise
            raise IndivisibleError(
                f"--noise-interval {self._interval}: a group of one rank learns the batch of a "
                f"measured step in {self._parts} parts, and {error}; leave out --noise-interval, "
                "or train each group with several ranks"
            ) from error

    def end(self, updated: bool, taught: bool) -> None:
        """Ends a step; collective if it is one that is measured.

        Args:
            updated: Whether the gradient was finite, which all ranks know.
            taught: Whether the loss had a second term. What was measured of another loss is
                forgotten.
        """
        if not (self._measures and updated):
            return
        own, mean, pieces = self._updates.squares()
        few = self._batch / (self._group.trainers * pieces)
        total = self._group.total("noise", {"own": own})["own"]
        small = total / self._group.trainers
        if taught != self._taught:
            self._readings.clear()
            self._new.clear()
            self._count = 0
        self._taught = taught
        if math.isfinite(small):
            self._new.append(reading(small, mean, few, self._batch))
            self._readings.append(self._new[-1])
            self._count += 1
            while len(self._readings) > window_of(self._count):
                self._readings.popleft()

    def figures(self) -> dict[str, object]:
        """Returns what a line of metrics shows: nothing if there was no reading since the last.

        `gradient` and `variance` are means over the `readings` since the last line; `scale`, `low`
        and `high` are of the last `window` readings, see `window_of`. Both of the same loss.
        """
        new, self._new = self._new, []
        if not new:
            return {}
        recent, line = scale_of(self._readings), scale_of(new)
        figures = {
            "scale": recent.scale,
            "low": recent.low,
            "high": recent.high,
            "window": recent.readings,
            "gradient": line.gradient,
            "variance": line.variance,
            "readings": line.readings,
            "batch": self._batch,
            "loss": f"task and {self._term}" if self._taught else "task",
        }
        return {"noise": figures}

    def state_dict(self) -> dict[str, Any]:
        """Returns the readings, the same on all ranks."""
        kept = {"window": self._readings, "new": self._new}
        of_readings = {name: [list(each) for each in pairs] for name, pairs in kept.items()}
        return {**of_readings, "count": self._count, "taught": self._taught}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Goes on from what `state_dict` returned."""
        self._readings.clear()
        self._readings.extend(Reading(*pair) for pair in state["window"])
        self._new = [Reading(*pair) for pair in state["new"]]
        self._count = state.get("count", len(self._readings))
        self._taught = state["taught"]


def _cannot_be_halved(options: TrainOptions) -> str:
    parts = f" and into the parts of --accumulate {options.accumulate}"
    return (
        f"--noise-interval {options.noise_interval}: a group of one rank compares two halves of "
        f"its batch, and {options.batch_size} examples do not divide into halves"
        f"{parts if options.accumulate > 1 else ''}: choose a batch that does, or leave it out"
    )
