"""The plan of an experiment: the command of each run, and what is left to do."""

import shlex
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvcod.experiments.base import Experiment, Options, Study
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.running import studies
from hvcod.experiments.running.store import ArmRun, State, runs_of, state_of
from hvcod.runs.crew import RunSpec
from hvcod.schema import flag_of
from hvcod.values import Paths


@dataclass(frozen=True)
class PlannedRun:
    """A run of a plan.

    Attributes:
        command: The command line that trains it; one may train several runs.
        state: How far it is.
        step_s: Seconds a step: its own, or those of runs that are like it; None if unknown.
    """

    run: RunSpec
    command: str
    state: State
    step_s: float | None

    @property
    def seconds_left(self) -> float | None:
        """The seconds until it is finished; None if unknown."""
        if self.state.over:
            return 0.0
        return None if self.step_s is None else self.step_s * (self.steps - self.state.step)

    @property
    def steps(self) -> int:
        """The steps of the run."""
        return self.run.options.steps

    def to_dict(self) -> dict[str, Any]:
        """Returns the planned run as plain values."""
        return {
            "name": self.run.name,
            "run_dir": str(self.run.run_dir),
            "command": self.command,
            "ranks": self.run.all_ranks,
            "steps": self.steps,
            "step": self.state.step,
            "finished": self.state.finished,
            "diverged": self.state.diverged,
            "step_s": self.step_s,
            "seconds_left": self.seconds_left,
        }


def plan_of(work: Experiment | Study, order: ExperimentOptions) -> list[PlannedRun]:
    """Returns the plan of an experiment; nothing is trained or written.

    Raises what `hvcod.experiments.running.store.runs_of` does.
    """
    if isinstance(work, Study):
        train = studies.Training(work, order)
        return planned([(retrain, command_of_study(train)) for retrain in train.retrains])
    return planned([(run, command_of(run)) for run in runs_of(work, order)])


def planned(runs: Sequence[tuple[RunSpec, str]]) -> list[PlannedRun]:
    """Returns the plan of runs with their commands. Raises HvcodError: a file is unreadable."""
    states = [state_of(run) for run, _ in runs]
    pace = _Pace([run for run, _ in runs], states)
    return [
        PlannedRun(run, command, state, state.step_s or pace.of(run))
        for (run, command), state in zip(runs, states, strict=True)
    ]


def seconds_left(plan: Sequence[PlannedRun], at_once: Callable[[RunSpec], int]) -> float | None:
    """Returns the seconds until all runs are finished; None if that of one is unknown.

    Args:
        at_once: Returns how many runs like one are trained at the same time.
    """
    by_folder = {each.run.run_dir: each for each in plan}
    total = 0.0
    for each in by_folder.values():
        if each.seconds_left is None:
            return None
        total += each.seconds_left / at_once(each.run)
    return total


def command_of_study(train: studies.Training) -> str:
    """Returns the command line that trains all retrains of a study, to be copied and pasted."""
    return launched(train.ranks, "churn", "run", *train.words, options=train.given)


def command_of(run: ArmRun) -> str:
    """Returns the command line that trains a run, to be copied and pasted."""
    return launched(run.all_ranks, "train", options=run.given)


def launched(ranks: int, *words: str, options: Options) -> str:
    """Returns a command line of hvcod, with a launcher if it needs several ranks."""
    launcher = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
    flags = [word for key, value in options.items() for word in _words(key, value)]
    return shlex.join([*launcher, "hvcod", *words, *flags])


def _words(key: str, value: Any) -> list[str]:
    """Returns the words of a command line for an option."""
    if key.startswith("model."):
        return ["--set", f"{key}={value}"]
    flag = flag_of(key)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, Paths):
        return [word for each in value for word in (flag, str(each))]
    return [flag, str(value)]


class _Pace:
    """Seconds a step of runs that have not made any, from those that have."""

    def __init__(self, runs: Sequence[RunSpec], states: Sequence[State]) -> None:
        self._alike: dict[Path, list[float]] = {}
        self._per_example: dict[int, list[float]] = {}
        for run, state in zip(runs, states, strict=True):
            if state.step_s:
                self._alike.setdefault(run.run_dir.parent, []).append(state.step_s)
                each = state.step_s / run.examples
                self._per_example.setdefault(run.all_ranks, []).append(each)

    def of(self, run: RunSpec) -> float | None:
        """Returns the median of the same arm, or else in proportion to the examples of a step."""
        if alike := self._alike.get(run.run_dir.parent):
            return statistics.median(alike)
        if others := self._per_example.get(run.all_ranks):
            return statistics.median(others) * run.examples
        return None
