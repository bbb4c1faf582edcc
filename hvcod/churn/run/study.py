"""A study of retrains from beginning to end (paper, section 3.5 and table 1)."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.churn.run.options import StudyOptions
from hvcod.churn.run.retrains import Method, Retrain, methods_of, retrains_of
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, reason_of
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
    missing = crew.decide(lambda: _missing(retrains, study.ranks_per_group))
    mine = [number for number in missing if _is_mine(number, study)]
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if not _train([retrains[number] for number in mine], methods, crew):
        return Outcome(len(retrains) - len(missing), len(retrains), preempted=True)
    if mine:
        _predict([retrains[number] for number in mine], study, train.device)
    done = len(retrains) - len(missing) + len(mine)
    if study.share or not crew.is_root:
        return Outcome(done, len(retrains))
    return Outcome(done, len(retrains), report=_compare(retrains, train, options))


def _missing(retrains: Sequence[Retrain], ranks_per_group: int) -> list[int]:
    """The places of the retrains that have not predicted yet."""
    # Here, as what reads a run directory starts MPI: other processes have been forked before.
    from hvcod.training.run.directory import check_options

    missing = []
    for number, retrain in enumerate(retrains):
        if retrain.predictions.exists():
            check_options(retrain.run_dir, retrain.options, ranks_per_group)
        else:
            missing.append(number)
    for folder in {retrains[number].predictions.parent for number in missing}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HvcodError(f"cannot write {folder}: {reason_of(error)}") from error
    return missing


def _is_mine(number: int, study: StudyOptions) -> bool:
    return study.share is None or number % study.share.shares == study.share.number - 1


def _train(retrains: Sequence[Retrain], methods: Sequence[Method], crew: Crew) -> bool:
    """Trains them; whether they came to their end."""
    progress = Progress(len(retrains), "training", "retrain", shown=crew.is_root)
    for method in methods:
        waiting = [each for each in retrains if each.method == method]
        while waiting:
            together = waiting[: crew.at_once(method.groups)]
            del waiting[: len(together)]
            if not crew.train(together):
                return False
            progress.update(len(together), figures=together[-1].name)
    progress.close()
    return True


def _predict(retrains: Sequence[Retrain], study: StudyOptions, device: str) -> None:
    from hvcod.churn.predicting import predict_file
    from hvcod.groups.launch import world
    from hvcod.groups.split import split

    ranks = split(world(), 1)
    evaluation = EvaluationOptions(part=study.part, examples=study.examples, device=device)
    progress = Progress(len(retrains), f"predicting {study.part}", "retrain", shown=ranks.is_root)
    for retrain in retrains:
        group = retrain.method.predicts
        with silently():
            predict_file(retrain.run_dir, retrain.predictions, evaluation, group, ranks)
        progress.update(figures=retrain.name)
    progress.close()


def _compare(retrains: Sequence[Retrain], train: TrainOptions, options: CompareOptions) -> Report:
    if train.task == "criteo" and not (options.slices or options.slice_column):
        # By how rare their features are: the paper expects most churn there.
        options = dataclasses.replace(options, slices=train.data)
    methods: dict[str, list[Path]] = {}
    for retrain in retrains:
        methods.setdefault(retrain.method.name, []).append(retrain.predictions)
    return compare(methods, options, {each.predictions: each.name for each in retrains})
