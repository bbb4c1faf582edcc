"""A crew that trains one run after the other in this process."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from training.toy import Quiet

from hvcod.groups.communicator import Alone
from hvcod.groups.world import NodeShare
from hvcod.runs.crew import Crew, RunSpec
from hvcod.runs.options import CrewOptions
from hvcod.training.launch import Team, launch

Result = TypeVar("Result")


class Here(Crew):
    """Trains at most `runs` of them, then it is told to stop; None: all."""

    is_root = True

    def __init__(self, runs: int | None = None) -> None:
        super().__init__(CrewOptions(), Quiet())
        self.trained, self._left = list[str](), runs

    def on_root(self, function: Callable[[], Result]) -> Result:
        return function()

    def is_told_to_stop(self) -> bool:
        return self._left == 0

    def at_once(self, run: RunSpec) -> int:
        return 1

    def train(self, runs: Sequence[RunSpec]) -> bool:
        (run,) = runs
        self.trained.append(run.name)
        self._left = None if self._left is None else self._left - 1
        summaries = launch(run.options, Team(Alone(), NodeShare(0, 1), Quiet()))
        return all(summary["ended"] == "finished" for summary in summaries)
