"""The model in production of a study: it is found once, predicts once, and stays the same one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvcod.churn.options import StudyOptions
from hvcod.churn.run.methods import Method
from hvcod.churn.run.retrains import predictions_of
from hvcod.churn.sources import is_model
from hvcod.config import TrainOptions, findable
from hvcod.errors import HvcodError, UsageError, reason_of
from hvcod.files.shared import create_whole
from hvcod.progress import silently
from hvcod.tasks import load_task
from hvcod.tasks.files import held, make_folder
from hvcod.training.finished.sources import Choice, WeightsFile, find
from hvcod.training.stored.store import is_begun, is_store

NOTE = "production.json"
"""The file of a study that names the model which its anchored retrains have learned from."""


@dataclass(frozen=True)
class Production:
    """The model in production.

    Attributes:
        name: Its name in tables.
        files: Its weights: those of each group of a run, whose mean predicts as it teaches.
        digest: The SHA-256 of these files.
        predictions: The file of its predictions, which exists once it has predicted.
    """

    name: str
    files: Sequence[WeightsFile]
    digest: str
    predictions: Path


def find_production(study: StudyOptions, output: Path) -> Production | None:
    """Returns the model of ``--production``; None without one. For one rank of a launch.

    Its predictions are kept by its digest, so that those of another model are not taken for them.

    Raises:
        UsageError: It is neither a run nor a file.
        HvcodError: It cannot be read.
    """
    path = study.production
    if path is None:
        return None
    if is_store(path) or is_begun(path):
        raise UsageError(
            f"--production {path} holds predictions of the training data: name the run or "
            "the file of weights, which can predict others"
        )
    if path.is_file() and not is_model(path):
        raise UsageError(
            f"--production {path} is no file of weights, which can predict the study's rows and "
            "teach; files of predictions are compared by `hvcod churn compare` and `gate`"
        )
    try:
        files = find([path], [], Choice())
    except UsageError as error:
        raise UsageError(f"--production: {error}") from error
    digest = hashlib.sha256()
    for file in files:
        digest.update(_digest(file.path))
    name = f"{path}, the mean of {len(files)} groups" if len(files) > 1 else str(path)
    known = digest.hexdigest()
    predictions = predictions_of(study, output) / "production" / f"{known[:16]}.h5"
    return Production(name, files, known, predictions)


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise HvcodError(f"--production: cannot read {path}: {reason_of(error)}") from error


def keep_production(production: Production, methods: Sequence[Method], output: Path) -> None:
    """Notes which model anchored retrains learn from, or compares it with the one of before.

    Also makes the folder of its predictions. For one rank of a launch; the study's folder exists.

    Raises:
        UsageError: That folder cannot be made.
        HvcodError: They have learned from another model, or the note cannot be written.
    """
    make_folder(production.predictions.parent)
    if not any(method.anchored for method in methods):
        return
    path = output / NOTE
    note = {"digest": production.digest, "source": findable(production.files[0].path)}
    try:
        if create_whole(path, json.dumps(note).encode()):
            return
        before = json.loads(path.read_bytes())
        same, source = before["digest"] == production.digest, before["source"]
    except OSError as error:
        raise HvcodError(f"cannot write {path}: {reason_of(error)}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise HvcodError(f"{path} is not what hvcod has written: delete it") from error
    if not same:
        raise HvcodError(
            f"--production {production.files[0].path} holds other weights than {source}, which "
            f"the anchored retrains in {output} learn from: name those, or use another --output"
        )


def predict_production(
    production: Production, study: StudyOptions, train: TrainOptions, output: Path
) -> None:
    """Lets the model in production predict the part of the data that all retrains predict.

    Collective over the launch.

    Raises:
        HvcodError: It is of another task, or of data of another meaning, or does not fit.
    """
    # Imported here because they start MPI, which must not happen before the crew is made.
    from hvcod.evaluation.models import Trained
    from hvcod.evaluation.predict import predict
    from hvcod.groups.device import choose_device
    from hvcod.groups.split import split
    from hvcod.groups.world import world
    from hvcod.training.finished.teachers import finished_model
    from hvcod.training.run.data import meaning_of_task

    ranks = split(world())
    options = replace(train, validation_examples=study.examples)
    task = load_task(train.task)(options, ranks)
    meaning, device = meaning_of_task(task), choose_device(ranks, train.device)
    models = []
    for file in production.files:
        model, of_model, origin = finished_model(file, task, meaning, "--production")
        model = model.to(device).eval()
        models.append(Trained(file.name, file.path, origin.step, of_model, model, device))
    with held(output), silently():
        predict(models, study.part, production.predictions, ranks)
