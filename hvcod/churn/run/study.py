"""A study of retrains from beginning to end (paper, section 3.5 and table 1)."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from hvcod.churn.compare import compare
from hvcod.churn.measures.slices import parse_edges
from hvcod.churn.options import CompareOptions, StudyOptions
from hvcod.churn.report import Report
from hvcod.churn.run.data import check_beginnings, check_data
from hvcod.churn.run.methods import Method, methods_of
from hvcod.churn.run.production import (
    Production,
    find_production,
    keep_production,
    predict_production,
)
from hvcod.churn.run.retrains import Retrain, retrains_of
from hvcod.churn.run.samples import Samples, samples_of
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.evaluation.options import EvaluationOptions
from hvcod.files.folder import hold, make_folder
from hvcod.runs.crew import Crew
from hvcod.runs.options import Share
from hvcod.tasks.files import held
from hvcod.terminal import show


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The state of a study when its command ends.

    Attributes:
        done: Retrains, of all `retrains`, that have been trained and have predicted.
        preempted: Whether it was told to stop before it was done.
        report: The comparison of all retrains, on the root once all are done.
    """

    done: int
    retrains: int
    preempted: bool = False
    report: Report | None = None


def conduct(
    study: StudyOptions, train: TrainOptions, options: CompareOptions, output: Path, crew: Crew
) -> Outcome:
    """Trains the missing retrains of a study, lets them predict, and compares all.

    Retrains that are finished are used again, so an interrupted study goes on, and methods and
    repeats can be added later. Collective over the launch.

    Args:
        train: The options of training, except those that the methods decide.
        output: Folder of the study: ``retrains/METHOD/NUMBER`` are the run directories,
            ``predictions/PART/METHOD/NUMBER.h5`` the predictions.

    Raises:
        UsageError: There is no such method, or there are too few ranks for one.
        HvcodError: A retrain failed, or an existing one was trained with other options.
    """
    methods = methods_of(study.methods)
    samples = samples_of(study, train)
    retrains = retrains_of(methods, samples, study, train, output)
    crew.batches(retrains)
    note = _note(samples, methods, train)
    if note and crew.is_root:
        show(note, err=True)
    share = crew.options.share
    _check(retrains, study, options, share)
    production = crew.on_root(lambda: find_production(study, output))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    missing = crew.on_root(lambda: _missing(retrains, output, crew.options.ranks_per_group))
    if production:
        crew.on_root(lambda: keep_production(production, methods, output))
    check_data(retrains, train, study.part, crew, is_complete=not missing)
    if production and not share and not crew.on_root(production.predictions.exists):
        predict_production(production, study, train, output)
    ours = [retrain for retrain in crew.share_of(retrains) if retrain.name in missing]
    finished = _complete(ours, study, train.device, output, crew)
    done = len(retrains) - len(missing) + finished
    if finished < len(ours):
        return Outcome(done, len(retrains), preempted=True)
    if share or not crew.is_root:
        return Outcome(done, len(retrains))
    check_beginnings(retrains)
    report = _compare(retrains, production, train, options)
    report = dataclasses.replace(report, data_sample=samples.kind, note=note)
    return Outcome(done, len(retrains), report=report)


def _note(samples: Samples, methods: Sequence[Method], train: TrainOptions) -> str:
    """Returns sentences on the data and the first weights of the retrains, as far as needed."""
    sentences = [samples.note]
    shared = [method.name for method in methods if not method.own_data]
    if samples.note and shared:
        sentences.append(f"All retrains of {', '.join(shared)} have the same data.")
    if train.init is not None:
        sentences.append(
            f"All retrains begin with the weights of --init {train.init}: retrains that begin at "
            "random differ more."
        )
    return " ".join(filter(None, sentences))


def _check(
    retrains: Sequence[Retrain], study: StudyOptions, options: CompareOptions, share: Share | None
) -> None:
    """Raises now what would otherwise be raised after all the training."""
    parse_edges(options.slice_edges)
    if options.slices and not options.slices.exists():
        raise UsageError(f"--slices {options.slices}: no such file or folder")
    fewest = 2 if study.production is None else 1
    if len(retrains) < fewest and not share:
        raise UsageError(f"--repeats {study.repeats}: churn is between two retrains or more")


def _missing(retrains: Sequence[Retrain], output: Path, ranks_per_group: int) -> set[str]:
    """The names of the retrains that have not predicted yet."""
    # Imported here because it starts MPI, which must not happen before the crew is made.
    from hvcod.groups.split import trainers_among
    from hvcod.training.run.directory import check_options

    missing = [retrain for retrain in retrains if not retrain.predictions.exists()]
    for retrain in retrains:
        run, predictions, predicted = retrain.run_dir, retrain.predictions, retrain not in missing
        advice = f"use the same options, another --output, or delete {run}"
        advice += f" and {predictions}" if predicted else ""
        trainers = trainers_among(ranks_per_group, retrain.options.codistill.teacher_ranks)
        exists = check_options(run, retrain.options, trainers, advice)
        if predicted and not exists:
            raise HvcodError(
                f"{predictions} was predicted by a run that is missing: {run}; delete the "
                "predictions, and the same command trains that run again"
            )
    try:
        with hold(output):
            for folder in {retrain.predictions.parent for retrain in missing}:
                make_folder(folder)
    except OSError as error:
        raise HvcodError(f"cannot write {output}: {reason_of(error)}") from error
    return {retrain.name for retrain in missing}


def _complete(
    retrains: Sequence[Retrain], study: StudyOptions, device: str, output: Path, crew: Crew
) -> int:
    """Trains retrains and lets them predict, until told to stop; returns how many are done."""
    if not retrains:
        return 0
    from hvcod.churn.predicting import predict_file
    from hvcod.groups.split import split
    from hvcod.groups.world import world

    ranks = split(world())
    evaluation = EvaluationOptions(part=study.part, examples=study.examples, device=device)

    def predict(retrain: Retrain) -> None:
        predict_file(retrain.run_dir, retrain.predictions, evaluation, retrain.group, ranks)

    with held(output):
        return crew.complete(retrains, predict)


def _compare(
    retrains: Sequence[Retrain],
    production: Production | None,
    train: TrainOptions,
    options: CompareOptions,
) -> Report:
    if train.task == "criteo" and not options.slices:
        # Slices by how rare the features are: the paper expects most churn among rare ones.
        options = dataclasses.replace(options, slices=train.data)
    # Named, because the predictions of a retrain that are all 0 or 1 are no decisions.
    options = dataclasses.replace(options, prediction_column="prediction")
    methods: dict[str, list[Path]] = {}
    for retrain in retrains:
        methods.setdefault(retrain.method, []).append(retrain.predictions)
    names = {retrain.predictions: retrain.name for retrain in retrains}
    if production is None:
        return compare(methods, options, names)
    names[production.predictions] = production.name
    return compare(methods, options, names, production.predictions)
