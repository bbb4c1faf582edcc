"""A study of retrains from beginning to end (paper, section 3.5 and table 1)."""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from hvcod.churn.compare import compare
from hvcod.churn.measures.slices import parse_edges
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.churn.run.options import StudyOptions
from hvcod.churn.run.retrains import Retrain, methods_of, retrains_of
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.evaluation.options import EvaluationOptions
from hvcod.progress import Progress, silently

Result = TypeVar("Result")


class Crew(Protocol):
    """Who trains: the processes of this machine, or the ranks of a launch."""

    @property
    def is_root(self) -> bool:
        """Whether this process speaks for all."""
        ...

    def decide(self, function: Callable[[], Result]) -> Result:
        """What a function says on one of the ranks, on all of them."""
        ...

    def is_told(self) -> bool:
        """Whether one of the processes was told to stop; asked by all of them."""
        ...

    def at_once(self, groups: int) -> int:
        """How many retrains of so many groups can be trained at the same time."""
        ...

    def train(self, retrains: Sequence[Retrain]) -> bool:
        """Trains retrains of one method; whether they came to their end."""
        ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What has become of a study.

    Attributes:
        done: Retrains that have been trained and have predicted.
        retrains: In all.
        preempted: Whether it was stopped, and wants to go on.
        report: Of all, once they are done; on the process that speaks for all.
    """

    done: int
    retrains: int
    preempted: bool = False
    report: Report | None = None


def conduct(
    study: StudyOptions,
    train: TrainOptions,
    options: CompareOptions,
    output: Path,
    crew: Crew,
) -> Outcome:
    """Trains what is missing of a study, lets it predict, and compares all.

    What is there in the folder is used again; so a study that was interrupted goes on, and can be
    given more methods and repeats. Collective over the launch.

    Args:
        study: Which retrains.
        train: What they train with, but for what their methods say.
        options: How predictions are compared.
        output: Folder of the study: ``retrains/METHOD/NUMBER`` are their run directories,
            ``predictions/PART/METHOD/NUMBER.h5`` is what they predict.
        crew: Who trains.

    Raises:
        UsageError: There is no such method, or there are too few ranks for one.
        HvcodError: A retrain failed, or one that is there was trained with other options.
    """
    methods = methods_of(study.methods)
    retrains = retrains_of(methods, study, train, output)
    for method in methods:
        crew.at_once(method.groups)
    _check(retrains, study, options)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    missing = crew.decide(lambda: _missing(retrains, study.ranks_per_group))
    mine = [retrains[number] for number in missing if _is_mine(number, study)]
    finished = _carry_out(mine, study, train.device, crew) if mine else 0
    done = len(retrains) - len(missing) + finished
    if finished < len(mine):
        return Outcome(done, len(retrains), preempted=True)
    if study.share or not crew.is_root:
        return Outcome(done, len(retrains))
    return Outcome(done, len(retrains), report=_compare(retrains, train, options))


def _check(retrains: Sequence[Retrain], study: StudyOptions, options: CompareOptions) -> None:
    """Tells now what would only fail when all has been trained."""
    parse_edges(options.slice_edges)
    if options.slices and not options.slices.exists():
        raise UsageError(f"--slices {options.slices}: no such file or folder")
    if len(retrains) < 2 and not study.share:
        raise UsageError(f"--repeats {study.repeats}: churn is between two retrains or more")


def _missing(retrains: Sequence[Retrain], ranks_per_group: int) -> list[int]:
    """The places of the retrains that have not predicted yet."""
    # Here, as what reads a run directory starts MPI: other processes have been forked before.
    from hvcod.training.run.directory import check_options

    missing = []
    for number, retrain in enumerate(retrains):
        run, predicted = retrain.run_dir, retrain.predictions.exists()
        advice = f"use the same options, another --output, or delete {run}"
        advice += f" and {retrain.predictions}" if predicted else ""
        if not check_options(run, retrain.options, ranks_per_group, advice) and predicted:
            raise HvcodError(
                f"{run} is gone, which tells how {retrain.predictions} came about; delete that, "
                "too, and it is trained again"
            )
        if not predicted:
            missing.append(number)
    for folder in {retrains[number].predictions.parent for number in missing}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HvcodError(f"cannot write {folder}: {reason_of(error)}") from error
    return missing


def _is_mine(number: int, study: StudyOptions) -> bool:
    return study.share is None or number % study.share.shares == study.share.number - 1


def _carry_out(retrains: Sequence[Retrain], study: StudyOptions, device: str, crew: Crew) -> int:
    """Trains retrains and lets them predict, until told to stop; how many it has done."""
    from hvcod.churn.predicting import predict_file
    from hvcod.groups.split import split
    from hvcod.groups.world import world

    ranks = split(world(), 1)
    evaluation = EvaluationOptions(part=study.part, examples=study.examples, device=device)
    progress = Progress(len(retrains), "training", "retrain", shown=crew.is_root)
    done = 0
    for together in _batches(retrains, crew):
        if crew.is_told() or not crew.train(together):
            break
        for retrain in together:
            if crew.is_told():
                break
            group = retrain.method.predicts
            with silently():
                predict_file(retrain.run_dir, retrain.predictions, evaluation, group, ranks)
            done += 1
            progress.update(figures=retrain.name)
    progress.close()
    return done


def _batches(retrains: Sequence[Retrain], crew: Crew) -> Iterator[list[Retrain]]:
    """Retrains of one method, as many as can be trained at the same time."""
    for method, alike in itertools.groupby(retrains, key=lambda each: each.method):
        waiting, size = list(alike), crew.at_once(method.groups)
        for first in range(0, len(waiting), size):
            yield waiting[first : first + size]


def _compare(retrains: Sequence[Retrain], train: TrainOptions, options: CompareOptions) -> Report:
    if train.task == "criteo" and not options.slices:
        # By how rare their features are: the paper expects most churn there.
        options = dataclasses.replace(options, slices=train.data)
    methods: dict[str, list[Path]] = {}
    for retrain in retrains:
        methods.setdefault(retrain.method.name, []).append(retrain.predictions)
    return compare(methods, options, {each.predictions: each.name for each in retrains})
