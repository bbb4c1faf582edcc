"""Untrained models of small data, and stores of what they predict."""

from pathlib import Path
from typing import Any

import torch
from mpi4py import MPI
from tasks.commoncrawl.texts import make_texts
from tasks.criteo.datasets import make_dataset
from torch import Tensor

from hvcod import config
from hvcod.config import TrainOptions
from hvcod.evaluation.models import Trained
from hvcod.evaluation.options import StoreOptions
from hvcod.evaluation.storing.storing import Storing, packing_of
from hvcod.groups.split import Group
from hvcod.tasks import load_task
from hvcod.tasks.base import Task
from hvcod.training.stored.store import PredictionStore
from hvcod.training.validation import predicted_logits

ALONE = Group(0, 1, 0, 1, MPI.COMM_SELF, 0, 1)
OUTPUTS = 64
"""Of a model of text, which has a few more of them than pieces."""

SMALL: dict[str, dict[str, Any]] = {
    "commoncrawl": {"model.embedding": 4, "model.hidden": 8},
    "criteo": {"model.embedding": 2, "model.hidden": "8"},
}


def make_data(folder: Path) -> None:
    """Prepares data of both tasks in a folder."""
    make_dataset(folder / "criteo", [3000, 2500], 300, 100)
    make_texts(folder / "commoncrawl")


def make_task(folder: Path, name: str, **more: Any) -> Task:
    """Returns a task on the data in a folder; an option's dot is two underscores."""
    kind = load_task(name)
    layer: dict[str, Any] = {"task": name, "data": folder / name, **SMALL[name]}
    layer["validation_examples"] = None
    layer |= {key.replace("__", "."): value for key, value in more.items()}
    options = config.resolve(TrainOptions, [kind.presets["laptop"], layer], kind.Options)
    return kind(options, ALONE)


def make_models(folder: Path, name: str, count: int = 1) -> list[Trained]:
    """Returns some models of a task on the data in a folder."""
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        path, task = folder / f"model-{seed}.h5", make_task(folder, name)
        path.write_bytes(bytes([seed]))
        model, device = task.build_model().eval(), torch.device("cpu")
        models.append(Trained(f"model {seed}", path, 10, task, model, device))
    return models


def storing_of(models: list[Trained], folder: Path, **form: Any) -> Storing:
    return Storing(models, folder, packing_of(models, StoreOptions(**form)), 1, ALONE)


def stored(models: list[Trained], folder: Path, **form: Any) -> PredictionStore:
    storing_of(models, folder, **form).run()
    return PredictionStore(folder)


def predicted(model: Trained) -> dict[int, Tensor]:
    """Returns the logits of a model by place."""
    task, found = model.task, dict[int, Tensor]()
    for batch, (logits,) in predicted_logits([(task, model.model)], "training", model.device):
        assert batch.places is not None
        flat = logits.flatten() if task.likelihood == "binary" else logits.flatten(0, -2)
        found |= dict(zip(batch.places.tolist(), flat, strict=True))
    return {place: logits for place, logits in found.items() if place >= 0}
