"""The store of runs, which all experiments with the same ``--output`` share.

A run is found by a digest of all of its options that matter for its curves, and of its data. So
the baseline of one experiment is that of another, and a changed setting makes new runs.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.experiments.base import Arm, Experiment, Options
from hvcod.experiments.options import ExperimentOptions
from hvcod.files.regular import open_regular
from hvcod.folders import group_folder
from hvcod.runs.crew import RunSpec
from hvcod.runs.layers import resolve
from hvcod.training.run.resume import per_rank
from hvcod.training.run.spelling import same_form
from hvcod.training.status.tail import Tail, read_tail
from hvcod.units import counted
from hvcod.values import Paths

FOLDER = "runs"

_OF_NO_MATTER = frozenset(
    (
        *("task", "seed", "data", "teacher"),
        *("preset", "device", "save_interval", "keep_states", "log_interval"),
    )
)
"""Options that the digest leaves out, as it has them in another form or they change no curve."""

_DIGITS = 10


@dataclass(frozen=True, kw_only=True)
class ArmRun(RunSpec):
    """A run of an arm.

    Attributes:
        arm: The name of the arm.
        candidate: The name of its candidate; empty if it is not tuned.
        seed: The seed of the run.
        given: The options that make it, those that preset and defaults add left out.
        teacher: The run that teaches it, to be finished before; None if there is none.
    """

    arm: str
    candidate: str
    seed: int
    given: Options
    teacher: "ArmRun | None" = None


def runs_of(experiment: Experiment, order: ExperimentOptions) -> list[ArmRun]:
    """Returns the runs of an experiment, arm by arm; nothing is trained or written.

    Raises:
        UsageError: An option is unknown or does not fit, or options do not go together.
        HvcodError: The data cannot be read.
    """
    return list(_Runs(experiment, order).all())


class _Runs:
    """Makes the runs of an experiment."""

    def __init__(self, experiment: Experiment, order: ExperimentOptions) -> None:
        self._setting, self._arms, self._order = experiment.setting, experiment.arms, order
        self._rank_batch = experiment.setting.rank_batch
        if order.ranks_per_group is not None and order.ranks_per_group > 1:
            batch = experiment.setting.options["group_batch_size"]
            self._rank_batch = batch // order.ranks_per_group
        self._data = identity_of(order.data)

    def all(self) -> Iterator[ArmRun]:
        """Yields all runs, those of an arm one after the other."""
        for arm in self._arms:
            for candidate in arm.candidates:
                yield from self._of_candidate(arm, candidate)

    def _of_candidate(self, arm: Arm, candidate: str) -> Iterator[ArmRun]:
        """Yields the runs of a candidate, one for each seed."""
        name = f"{arm.name} ({candidate})" if candidate else arm.name
        given, ranks = self._given(arm, candidate)
        teachers = self._teachers(arm)
        try:
            # Resolved once, as that takes a while; the runs differ in what `own` names alone.
            options = resolve(None, (), given | _taught(teachers[0]))
            per_rank(options, ranks)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        # The ranks of local SGD are part of the method; of others they share one batch.
        of_method = ranks if options.sgd == "local" and arm.ranks is None else 1
        folder = self._order.output / FOLDER / self._folder(options, teachers[0], of_method)
        for seed, teacher in enumerate(teachers, 1):
            own: dict[str, Any] = {"seed": seed, **_taught(teacher), "run_dir": folder / f"{seed}"}
            yield ArmRun(
                name=f"{name} {seed}",
                options=dataclasses.replace(options, **own, time_limit=self._order.time_limit),
                group=None,
                ranks=ranks,
                arm=arm.name,
                candidate=candidate,
                seed=seed,
                given=given | own,
                teacher=teacher,
            )

    def _folder(self, options: TrainOptions, teacher: ArmRun | None, ranks: int) -> str:
        """Returns the name of the folder in the store for runs with some options."""
        task = re.sub(r"[^\w.-]", "-", options.task)
        taught = teacher.run_dir.parent.name if teacher else ""
        groups = counted(options.groups, "group").replace(" ", "-")
        return f"{task}-{groups}-{digest_of(options, self._data, taught, ranks)}"

    def _given(self, arm: Arm, candidate: str) -> tuple[dict[str, Any], int]:
        """Returns the options of a candidate but for its seed, and the ranks of a group."""
        setting = self._setting
        given = {"task": setting.options["task"]}
        given |= {"data": self._order.data} if self._order.data else {}
        own = {**setting.options, **arm.candidates[candidate]}
        given |= {"validation_parts": 2}
        if own.get("sgd", "sync") == "sync":
            # Otherwise each rank has weights of its own, of which there is no average.
            given |= {"average": setting.average, "validate_average": True}
        given |= own
        ranks = arm.ranks or (
            given["group_batch_size"] // self._rank_batch if self._rank_batch else None
        )
        if ranks is None:
            return given | {"codistill.exchange": "in-process"}, 1
        # Only a process that trains all groups can score the mean of their predictions.
        given.pop("validate_ensemble", None)
        return given, ranks

    def _teachers(self, arm: Arm) -> list[ArmRun | None]:
        """Returns the run that teaches an arm, for each seed; None if there is none."""
        if not arm.taught_by:
            return [None] * self._order.seeds
        teacher = next(each for each in self._arms if each.name == arm.taught_by)
        return list(self._of_candidate(teacher, next(iter(teacher.candidates))))


def _taught(teacher: ArmRun | None) -> dict[str, Paths]:
    return {} if teacher is None else {"teacher": Paths(teacher.run_dir)}


def identity_of(data: Path | None) -> str:
    """Returns what identifies prepared data wherever they are: a digest of their description.

    Raises:
        UsageError: The folder holds no prepared data.
        HvcodError: Its description cannot be read.
    """
    if data is None:
        return "built-in"
    path = data / "dataset.json"
    try:
        with open_regular(path, follow=True) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError as error:
        raise UsageError(f"--data {data}: there is no {path}: prepare it by hvcod data") from error
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error


def digest_of(options: TrainOptions, data: str, teacher: str = "", ranks: int = 1) -> str:
    """Returns a digest of all that makes the curves of runs, but for their seed.

    Args:
        data: See `identity_of`.
        teacher: What identifies their finished teacher.
        ranks: Ranks of a group, if they matter and are not told by the options.
    """
    values = config.flatten(config.to_tree(options))
    del values["seed"]
    matters: dict[str, Any] = {} if options.task == TrainOptions.task else {"task": options.task}
    matters |= {
        key: form
        for key, field in config.fields_of(TrainOptions, type(options.model)).items()
        if key not in _OF_NO_MATTER and not field[0].metadata["launch"]
        if (form := same_form(key, values, field)) != same_form(key, {}, field)
    }
    content = json.dumps([matters, data, teacher, *([ranks] if ranks > 1 else [])], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class State:
    """The state of a run.

    Attributes:
        step: Steps that all of its groups have made.
        finished: Whether all of its groups have made all steps.
        failed: Why its last launch failed; empty if it did not.
        diverged: Whether it failed because a loss or gradient was NaN or infinite.
        step_s: Seconds a step of the run, validations and saves included; None if unknown.

    A run that diverged would do so again: there is nothing left to train.
    """

    step: int = 0
    finished: bool = False
    failed: str = ""
    diverged: bool = False
    step_s: float | None = None

    @property
    def over(self) -> bool:
        """True if nothing is left to train: the run is finished, or has diverged."""
        return self.finished or self.diverged


Run = TypeVar("Run", bound=RunSpec)


def state_of(run: RunSpec) -> State:
    """Returns the state of a run, which may not have begun, or be training, from its files.

    Raises:
        HvcodError: They cannot be read.
    """
    tails = [_tail(run, group) for group in range(run.options.groups)]
    steps = run.options.steps
    paces = [tail.steps_per_s for tail in tails]
    ends = [tail.ending.get("event") for tail in tails]
    failures = [str(tail.ending.get("reason", "")) for tail in tails]
    return State(
        step=min(min(tail.step or 0 for tail in tails), steps),
        finished={*ends} == {"finished"} and all((tail.step or 0) >= steps for tail in tails),
        failed=failures[ends.index("failed")] if "failed" in ends else "",
        diverged=any(tail.ending.get("diverged") is True for tail in tails),
        step_s=max((1 / pace for pace in paces if pace), default=None),
    )


def missing(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs that are to be trained, each once."""
    return list({run.run_dir: run for run in runs if not state_of(run).over}.values())


def _tail(run: RunSpec, group: int) -> Tail:
    path = group_folder(run.run_dir, group) / "metrics.jsonl"
    try:
        return read_tail(path)
    except FileNotFoundError:
        return Tail()
    except (OSError, HvcodError) as error:
        raise HvcodError(f"cannot read {path}: {reason_of(error)}") from error
