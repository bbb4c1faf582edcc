"""Groups that train in one process take turns: each makes a step, then the next one does.

What a process has only once, random numbers and the current CUDA stream, each group has for its
own, so that it learns what it would learn in a process of its own.
"""

import logging
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from hvcod.tensorfile.steps import list_steps
from hvcod.training.ensemble import Ensemble

Result = TypeVar("Result")

Training = Generator[None, None, Result]
"""The training of a group: it makes a step at each turn and returns a result at the end."""

whose: ContextVar[str] = ContextVar("whose", default="")
"""The group whose turn it is, such as ``[group 1] ``; empty for threads that work beside it."""

log = logging.getLogger("hvcod.training")


class Turns:
    """Settles for the groups of a process what they do together; nothing if there is only one.

    They stop and save at the same steps, so that all of them can go on from the same one.

    Attributes:
        count: The number of groups.
        ensemble: Of their models.
    """

    def __init__(self, states: Sequence[Path], device: torch.device) -> None:
        """`states` are the folders of their training states; all compute on `device`."""
        self.count, self._device = len(states), device
        self.ensemble = Ensemble(self.count, device)
        self._states = states
        self._saves: list[Callable[[], object]] = []
        self._round = 0
        self._stopped = self._settled = -1
        self._asked = self._reason = ""

    def take(self, trainings: Sequence[Training[Result]]) -> list[Result]:
        """Returns the results of trainings that make their steps in turn."""
        results: dict[int, Result] = {}
        own = [_Own(f"[group {index}] ", self._device) for index in range(len(trainings))]
        while len(results) < len(trainings):
            for index, training in enumerate(trainings):
                if index not in results:
                    with own[index].turn() if self.count > 1 else nullcontext():
                        try:
                            next(training)
                        except StopIteration as end:
                            results[index] = end.value
            self._round += 1
        return [results[index] for index in range(len(trainings))]

    @cached_property
    def begin(self) -> int | None:
        """The last step of which all groups have a state, from which they go on.

        0 if a launch ended while it saved the first ones. None if each goes on from its own last
        one, because it is alone, or because a group has failed before.
        """
        steps = [_steps(folder) for folder in self._states] if self.count > 1 else []
        if not any(steps):
            return None
        if common := set.intersection(*steps):
            return max(common)
        # A group publishes once it has ended, and all have saved what they had by then.
        ended = any(_steps(folder.with_name("published")) for folder in self._states)
        if not ended and all(len(each) < 2 for each in steps):
            return 0
        log.warning(
            "the groups have no training states of the same step: each goes on from its own last "
            "one, which gives other weights than a run that was not interrupted"
        )
        return None

    def stop(self, reason: str) -> str:
        """Returns why all groups stop in this round; empty if there is no reason.

        The first group of a round asks for all: a `reason` that comes later counts in the next.
        """
        self._asked = self._asked or reason
        if self._stopped != self._round:
            self._stopped, self._reason = self._round, self._asked
        return self._reason

    def add(self, flush: Callable[[], object]) -> None:
        """Notes how to wait until the last state of a group is on disk."""
        self._saves.append(flush)

    def settle(self) -> None:
        """Waits until the states of earlier rounds are on disk; called before a state is saved.

        So no group gives up a state of a step that another one still needs to go on from.
        """
        if self.count > 1 and self._settled != self._round:
            self._settled = self._round
            for flush in self._saves:
                flush()


class _Own:
    """A group's own random numbers and CUDA stream, used while it has its turn."""

    def __init__(self, name: str, device: torch.device) -> None:
        self._name, self._device = name, device
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None
        if self._stream:
            # What was made before the turns, such as finished teachers, must be there.
            self._stream.wait_stream(torch.cuda.current_stream(device))
        # As in a new process.
        self._torch = torch.Generator().manual_seed(0).get_state()
        self._device_state: Any = torch.cuda.get_rng_state(device) if self._cuda else None
        self._numpy: Any = np.random.RandomState().get_state(legacy=False)
        self._python = random.Random().getstate()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Makes them those of the process for as long as it lasts."""
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        if self._cuda:
            torch.cuda.set_rng_state(self._device_state, self._device)
        token = whose.set(self._name)
        with torch.cuda.stream(self._stream):
            yield
        whose.reset(token)
        self._torch, self._python = torch.get_rng_state(), random.getstate()
        self._numpy = np.random.get_state(legacy=False)
        if self._cuda:
            self._device_state = torch.cuda.get_rng_state(self._device)


def _steps(folder: Path) -> set[int]:
    try:
        return set(list_steps(folder))
    except OSError:
        return set()
