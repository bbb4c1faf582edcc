"""The crew that trains several runs: processes of this machine, or the ranks of a launch."""

import contextlib
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hvcod.config import TrainOptions
from hvcod.groups.environment import is_launched
from hvcod.progress import Progress, silently
from hvcod.runs.options import CrewOptions
from hvcod.terminal import LogLines
from hvcod.training.signals import StopSignals


@dataclass(frozen=True)
class RunSpec:
    """One training run among several.

    Attributes:
        name: Its name in tables and messages.
        group: The group whose model stands for the run; None for the mean of all groups.
        ranks: Ranks in each group; None: as many as ``--ranks-per-group`` says.
    """

    name: str
    options: TrainOptions
    group: int | None = 0
    ranks: int | None = None

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        assert self.options.run_dir is not None, f"{self.name} has no run directory"
        return self.options.run_dir

    @property
    def all_ranks(self) -> int:
        """The ranks that train it, if each group has as many as it says, or one."""
        return self.options.separate_groups * (self.ranks or 1)

    @property
    def examples(self) -> int:
        """The examples that all of its groups learn from in a step."""
        options = self.options
        of_group = options.group_batch_size or options.batch_size * (self.ranks or 1)
        return of_group * options.groups


Result = TypeVar("Result")
Spec = TypeVar("Spec", bound=RunSpec)


class Crew(ABC):
    """Trains several runs, some at the same time. Every method is collective over the launch.

    Attributes:
        options: Ranks in each group, runs at the same time, the share of this job.
        signals: The signals by which this process is told to stop.
    """

    def __init__(self, options: CrewOptions, signals: StopSignals) -> None:
        self.options, self.signals = options, signals

    @property
    @abstractmethod
    def is_root(self) -> bool:
        """True on the one process that prints and writes for all."""

    @abstractmethod
    def on_root(self, function: Callable[[], Result]) -> Result:
        """Calls a function on one rank and returns its result on all of them."""

    @abstractmethod
    def is_told_to_stop(self) -> bool:
        """Returns True if any process was told to stop."""

    @abstractmethod
    def at_once(self, run: RunSpec) -> int:
        """Returns how many runs like this one can be trained at the same time.

        Raises:
            UsageError: Not even one.
        """

    @abstractmethod
    def train(self, runs: Sequence[RunSpec]) -> bool:
        """Trains runs with equally many ranks at the same time, from where they stopped.

        Returns:
            Whether all of them are finished; the others were preempted and have saved.

        Raises:
            HvcodError: One failed.
        """

    def share_of(self, runs: Sequence[Spec]) -> list[Spec]:
        """Returns the runs in the share of this job: of N shares every Nth run."""
        share = self.options.share
        return list(runs) if share is None else list(runs[share.number - 1 :: share.shares])

    def complete(self, runs: Sequence[Spec], finish: Callable[[Spec], object]) -> int:
        """Trains runs to their end, in order, until told to stop.

        Args:
            runs: The runs; those that were interrupted go on.
            finish: Called for each run once it is trained, by all ranks.

        Returns:
            How many runs were trained and finished.
        """
        progress = Progress(len(runs), "training", "run", shown=self.is_root)
        done = 0
        for together in self.batches(runs):
            if self.is_told_to_stop() or not self.train(together):
                break
            for run in together:
                if self.is_told_to_stop():
                    break
                with silently():
                    finish(run)
                done += 1
                progress.update(figures=run.name)
        progress.close()
        return done

    def batches(self, runs: Sequence[Spec]) -> list[list[Spec]]:
        """Returns successive runs with equally many ranks, as many as can be trained at once.

        Raises:
            UsageError: There are too few ranks for one of them.
        """
        batches = []
        for _, alike in itertools.groupby(runs, key=self._ranks_of):
            waiting = list(alike)
            size = self.at_once(waiting[0])
            batches += [waiting[at : at + size] for at in range(0, len(waiting), size)]
        return batches

    def _ranks_of(self, run: RunSpec) -> tuple[int, int]:
        """Returns the groups of a run that have ranks of their own, and how many each has."""
        return run.options.separate_groups, run.ranks or self.options.ranks_per_group


def crew_of(options: CrewOptions) -> Crew:
    """Returns the ranks of this launch as a crew, or processes if no launcher started any.

    Call it before anything that starts MPI is imported: see `hvcod.runs.processes`.
    """
    if is_launched():
        from hvcod.runs.ranks import Ranks

        return Ranks(options)
    from hvcod.runs.processes import Processes

    return Processes(options)


@contextlib.contextmanager
def logging_as(run_dir: Path) -> Iterator[None]:
    """Puts a run directory in front of everything that is logged inside: whose warning is it?"""
    handlers = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
    where = str(run_dir).replace("%", "%%")
    for handler, _ in handlers:
        handler.setFormatter(LogLines(f"[{where}] %(message)s"))
    try:
        yield
    finally:
        for handler, before in handlers:
            handler.setFormatter(before)
