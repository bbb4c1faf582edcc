"""The retrains of a study, and the options of each."""

import dataclasses
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvcod import combinations
from hvcod.churn.options import StudyOptions
from hvcod.churn.run.methods import WITH_SAMPLES, Method
from hvcod.churn.run.samples import Samples
from hvcod.config import CodistillOptions, TrainOptions
from hvcod.errors import UsageError
from hvcod.runs.crew import RunSpec
from hvcod.tasks import load_task
from hvcod.values import Paths

NEVER = 10**9  # more steps than any run has


@dataclass(frozen=True, kw_only=True)
class Retrain(RunSpec):
    """One training of a method.

    Attributes:
        predictions: The file of its predictions, which exists once the retrain is done.
    """

    method: str
    predictions: Path


def retrains_of(
    methods: Sequence[Method],
    samples: Samples,
    study: StudyOptions,
    train: TrainOptions,
    output: Path,
) -> list[Retrain]:
    """Returns all retrains of a study, method by method.

    The seeds of a retrain follow from ``--seed``, its method and its number alone, so methods and
    repeats can be added later, and no two methods share a retrain.

    Raises:
        UsageError: Groups should be taught, but the burn-in never ends, or there is no teacher or
            no model in production, or other options make no sense with that.
    """
    _check_teachers(methods, study, train)
    _check_floors(methods, study)
    predictions = predictions_of(study, output)
    return [
        Retrain(
            f"{method.name} {number}",
            _options(method, number, samples, study, train, output),
            method.predicts,
            method=method.name,
            predictions=predictions / method.name / f"{number:03}.h5",
        )
        for method in methods
        for number in range(1, study.repeats + 1)
    ]


def predictions_of(study: StudyOptions, output: Path) -> Path:
    """Returns the folder of the predictions of the examples that a study predicts."""
    part = study.part if study.examples is None else f"{study.part}-{study.examples}"
    return output / "predictions" / part


def _check_teachers(methods: Sequence[Method], study: StudyOptions, train: TrainOptions) -> None:
    """Raises UsageError if the teachers of a method are missing, or would never teach."""
    distilled = [method.name for method in methods if "distill" in (method.name, method.base)]
    if distilled and not train.teacher:
        raise UsageError(
            f"--methods {distilled[0]} learns from a finished model: name it with --teacher"
        )
    anchored = [method.name for method in methods if method.anchored]
    if anchored and study.production is None:
        raise UsageError(
            f"--methods {anchored[0]} is pulled towards the model in production: name its run, "
            "training state, published checkpoint or exported weights with --production"
        )
    # A finished model that teaches alone needs no burn-in, see `_options`.
    burnt_in = any(method.teach and not _is_alone(method) for method in methods)
    if train.codistill.burn_in >= train.steps and burnt_in:
        raise UsageError(
            f"--burn-in {train.codistill.burn_in} of --steps {train.steps}: no group would ever "
            "have a teacher"
        )


def _check_floors(methods: Sequence[Method], study: StudyOptions) -> None:
    """Raises UsageError if retrains shall share, or alone have, samples that there are not."""
    named = {method.name: method.name.rpartition(":")[2] for method in methods}
    senseless = next((name for name, floor in named.items() if floor in WITH_SAMPLES), None)
    if senseless and study.data_sample == "none":
        raise UsageError(
            f"--methods {senseless}: all retrains learn from the same data here; add --data-sample "
            "bootstrap or days, or use same-init and same-order"
        )


def _is_alone(method: Method) -> bool:
    """Returns whether nobody but the model in production teaches."""
    return method.anchored and method.groups == 1


def _options(
    method: Method,
    number: int,
    samples: Samples,
    study: StudyOptions,
    train: TrainOptions,
    output: Path,
) -> TrainOptions:
    own = (method.own_initialisation, method.own_order, method.own_data)
    initialisation, order, sample = (
        _seed(train.seed, method.name, source, number * differs)
        for source, differs in enumerate(own)
    )
    codistill, same_data, teacher = train.codistill, train.same_data, train.teacher
    if method.anchored:
        teacher = Paths([str(study.production)])
    if _is_alone(method):
        codistill = dataclasses.replace(codistill, burn_in=0)
    if not method.teach:
        # Independent copies, each with all the data: they neither publish nor look for teachers.
        same_data, teacher = True, Paths()
        # Options that shape the term of label smoothing, too.
        kept = CodistillOptions() if train.smoothing == "none" else codistill
        codistill = dataclasses.replace(kept, burn_in=NEVER, exchange_interval=NEVER)
    options = dataclasses.replace(
        train,
        run_dir=output / "retrains" / method.name / f"{number:03}",
        groups=method.groups,
        seed=initialisation,
        order_seed=order,
        same_data=same_data or method.bootstrap,
        bootstrap=train.bootstrap or method.bootstrap,
        **samples.options(number * method.own_data, sample),
        teacher=teacher,
        codistill=codistill,
        keep_states=2 if codistill.in_process else 1,
    )
    if number == 1:  # the others differ in seeds and samples only
        _check_together(method, samples, options)
    return options


def _check_together(method: Method, samples: Samples, options: TrainOptions) -> None:
    """Raises UsageError if a method, or samples, make no sense with the options or the task."""
    try:
        if method.teach or method.bootstrap:
            combinations.check(options)
        if method.bootstrap or samples.kind != "none":
            load_task(options.task).check(options)
    except UsageError as error:
        raise UsageError(f"--methods {method.name}: {error}") from error


def _seed(seed: int, method: str, source: int, number: int) -> int:
    """Returns the seed of one source of randomness of a retrain; number 0 is that of all."""
    purpose = [seed, zlib.crc32(method.encode()), source, number]
    return int(np.random.SeedSequence(purpose).generate_state(1)[0])
