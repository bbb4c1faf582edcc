"""The batches that a rank learns from, and batch warm-up: smaller ones at first.

The noise of SGD grows with the learning rate and falls with the batch: instead of lowering the rate
one can let the batch grow (Smith et al. 2017, arXiv 1711.00489), and early in training a small
batch gives almost as good a gradient as a large one (McCandlish et al. 2018, arXiv 1812.06162).

What is read from the data stays as large as ever: at first each batch makes eight updates, from an
eighth of its rows each, then four, then two, and one from then on. So every example is learned
from, in the same order, and a hidden state goes on with its own rows.
"""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from hvcod.codistill.parts import WHOLE, Part
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.tasks.base import Batch, Task, TrainingData

STAGES = (8, 4, 2)
"""The updates that a batch makes in each stage of the warm-up."""

_STEPS, _ROWS = "warmup_steps", "warmup_rows"


class BatchWarmup:
    """The part of a batch that each step learns from; a step is counted from 0.

    A stage lasts a third of the warm-up, but ends with a batch.
    """

    def __init__(self, steps: int) -> None:
        """`steps` of the warm-up; 0: there is none."""
        self._ends: list[tuple[int, int]] = []  # (step behind a stage, its updates of a batch)
        end = 0
        for stage, count in enumerate(STAGES, start=1):
            short = -(-steps * stage // len(STAGES)) - end
            end += -(-max(0, short) // count) * count
            self._ends.append((end, count))

    def part(self, step: int) -> Part:
        """Returns the part of its batch from which a step learns."""
        begin = 0
        for end, count in self._ends:
            if step < end:
                return Part((step - begin) % count, count)
            begin = end
        return WHOLE

    def batches(self, steps: int) -> Fraction:
        """Returns the batches that have been learned from after so many steps."""
        begin, batches = 0, Fraction(0)
        for end, count in self._ends:
            batches += Fraction(min(steps, end) - begin, count)
            if steps <= end:
                return batches
            begin = end
        return batches + steps - begin


def learned(group: Group, options: TrainOptions, steps: int) -> int:
    """Returns the examples that a group has learned from after so many steps."""
    batches = BatchWarmup(options.batch_warmup).batches(steps)
    return int(batches * group.trainers * options.batch_size)


def begun_after(steps: int, position: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns a position at which data begin anew, and the warm-up goes on after so many steps."""
    if _STEPS not in position:
        return position
    return {**position, _STEPS: torch.full_like(position[_STEPS], steps)}


def without_warmup(position: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a position for data whose batches are whole, in front of one that was begun."""
    return {name: each for name, each in position.items() if name not in (_STEPS, _ROWS)}


class Growing:
    """Training data whose batches are handed out in parts at first.

    In the middle of a batch its position is that before the batch, which is then read again.
    """

    def __init__(self, data: TrainingData, warmup: BatchWarmup, rows: int) -> None:
        """`rows`: those of a batch of this rank."""
        self._data, self._warmup, self._rows = data, warmup, rows
        self._steps = 0
        self._before: Mapping[str, np.ndarray] = {}
        self._batch: Batch | None = None

    def next(self) -> Batch:
        """Returns what the next step learns from."""
        part, batch = self._warmup.part(self._steps), self._batch
        if part.index == 0 or batch is None:
            self._before = self._data.state_dict() if part.count > 1 else {}
            self._batch = batch = self._data.next()
        self._steps += 1
        if part.count == 1:
            return batch
        # Alone in its step, it is the whole of it.
        mine = batch.parts(part.count)[part.index]
        return dataclasses.replace(mine, part=Part(of=part), weight=float(mine.weight > 0))

    def state_dict(self) -> Mapping[str, np.ndarray]:
        """Returns the position of this rank; see `TrainingData`."""
        inside = self._warmup.part(self._steps).index > 0
        position = self._before if inside else self._data.state_dict()
        ours = {_STEPS: np.full(self._rows, self._steps), _ROWS: np.full(self._rows, self._rows)}
        return {**position, **ours}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts the stream back to a position that `state_dict` returned.

        Raises:
            HvcodError: It is in the middle of a batch that other ranks have begun.
        """
        self._before = {name: each for name, each in state.items() if name not in (_STEPS, _ROWS)}
        self._steps, rows = int(state[_STEPS][0]), int(state[_ROWS][0])
        self._data.load_state_dict(self._before)
        self._batch = None
        if self._warmup.part(self._steps).index == 0:
            return
        if rows != self._rows:
            raise HvcodError(
                f"the state of step {self._steps} is in the middle of a batch of --batch-warmup, "
                f"of which each rank has {rows} examples: go on with as many ranks per group as "
                "then, or from a state that was saved after the warm-up"
            )
        self._batch = self._data.next()


def training_data_of(task: Task) -> TrainingData:
    """Returns this rank's share of a task's training data, as the options want it.

    With ``--same-batches`` that of a run in which this group is the only one. With
    ``--batch-warmup`` its batches are smaller at first.
    """
    options, one = task.options, task
    if options.same_batches:
        only = dataclasses.replace(task.group, index=0, count=1)
        one = type(task)(options, only)
    data = one.training_data()
    if not options.batch_warmup:
        return data
    return Growing(data, BatchWarmup(options.batch_warmup), options.batch_size)
