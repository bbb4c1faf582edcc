"""The methods and retrains of a study, and the options of each retrain."""

import dataclasses
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvcod import combinations
from hvcod.churn.options import StudyOptions
from hvcod.config import CodistillOptions, TrainOptions
from hvcod.errors import UsageError
from hvcod.runs.crew import RunSpec
from hvcod.values import Paths

NEVER = 10**9  # more steps than any run has


@dataclass(frozen=True)
class Method:
    """A way to train and predict whose retrains are compared.

    Attributes:
        groups: The number of copies of the model in each retrain.
        teach: Whether the copies are taught: by each other, and by the finished models of
            ``--teacher``. Then the first one predicts; otherwise their ensemble does.
        own_initialisation: Whether each retrain has its own seed of the model: its first weights
            and everything else that the model draws.
        own_order: Whether each retrain has its own seed of the data: their order and everything
            else that is random about them.
    """

    name: str
    groups: int = 1
    teach: bool = False
    own_initialisation: bool = True
    own_order: bool = True

    @property
    def predicts(self) -> int | None:
        """The group that predicts; None for the ensemble of all."""
        return 0 if self.teach or self.groups == 1 else None


DISTILL = Method("distill", teach=True)
ONE_COPY = {
    "dnn": Method("dnn"),
    "distill": DISTILL,
    "same": Method("same", own_initialisation=False, own_order=False),
    "same-init": Method("same-init", own_initialisation=False),
    "same-order": Method("same-order", own_order=False),
}
SEVERAL_COPIES = ("ensemble", "codistill")


def methods_of(words: str) -> list[Method]:
    """Returns the methods of a text such as ``dnn,ensemble-4,codistill``.

    Raises:
        UsageError: There is no such method, or one is named twice.
    """
    methods = [_method(word.strip()) for word in words.split(",")]
    names = [method.name for method in methods]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--methods {words}: {twice[0]} comes twice")
    return methods


def _method(word: str) -> Method:
    if word in ONE_COPY:
        return ONE_COPY[word]
    copies = re.fullmatch(rf"({'|'.join(SEVERAL_COPIES)})(?:-(\d+))?", word)
    if copies and (count := int(copies[2] or 2)) > 1:
        name = copies[1] if count == 2 else word
        return Method(name, count, teach=copies[1] == "codistill")
    known = ", ".join([*ONE_COPY, *(f"{name}, {name}-3" for name in SEVERAL_COPIES)])
    raise UsageError(f"--methods {word}: choose from {known}")


@dataclass(frozen=True, kw_only=True)
class Retrain(RunSpec):
    """One training of a method.

    Attributes:
        predictions: The file of its predictions, which exists once the retrain is done.
    """

    method: str
    predictions: Path


def retrains_of(
    methods: Sequence[Method], study: StudyOptions, train: TrainOptions, output: Path
) -> list[Retrain]:
    """Returns all retrains of a study, method by method.

    The seeds of a retrain follow from ``--seed``, its method and its number alone, so methods and
    repeats can be added later, and no two methods share a retrain.

    Raises:
        UsageError: Groups should be taught, but the burn-in never ends, or there is no teacher, or
            other options make no sense with that.
    """
    if DISTILL in methods and not train.teacher:
        raise UsageError("--methods distill learns from a finished model: name it with --teacher")
    if train.codistill.burn_in >= train.steps and any(method.teach for method in methods):
        raise UsageError(
            f"--burn-in {train.codistill.burn_in} of --steps {train.steps}: no group would ever "
            "have a teacher"
        )
    part = study.part if study.examples is None else f"{study.part}-{study.examples}"
    return [
        Retrain(
            f"{method.name} {number}",
            _options(method, number, train, output / "retrains" / method.name / f"{number:03}"),
            method.predicts,
            method=method.name,
            predictions=output / "predictions" / part / method.name / f"{number:03}.h5",
        )
        for method in methods
        for number in range(1, study.repeats + 1)
    ]


def _options(method: Method, number: int, train: TrainOptions, run_dir: Path) -> TrainOptions:
    initialisation, order = (
        int(
            np.random.SeedSequence(
                [train.seed, zlib.crc32(method.name.encode()), *more]
            ).generate_state(1)[0]
        )
        for more in ([0, number * method.own_initialisation], [1, number * method.own_order])
    )
    codistill, same_data, teacher = train.codistill, train.same_data, train.teacher
    if not method.teach:
        # Independent copies, each with all the data: they neither publish nor look for teachers.
        same_data, teacher = True, Paths()
        # Options that shape the term of label smoothing, too.
        kept = CodistillOptions() if train.smoothing == "none" else codistill
        codistill = dataclasses.replace(kept, burn_in=NEVER, exchange_interval=NEVER)
    options = dataclasses.replace(
        train,
        run_dir=run_dir,
        groups=method.groups,
        seed=initialisation,
        order_seed=order,
        same_data=same_data,
        teacher=teacher,
        codistill=codistill,
        keep_states=2 if codistill.in_process else 1,
    )
    if method.teach:
        try:
            combinations.check(options)
        except UsageError as error:
            raise UsageError(f"--methods {method.name}: {error}") from error
    return options
