"""Stores what finished teachers predict for the training data, once for many trainings.

The work is a preparation of data like those of `hvcod data`: shared out over the ranks, taken up
where it was interrupted, whole or not there at all. A shard takes the part of a rank of an
evaluation, so the store does not depend on the number of ranks.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from hvcod.codistill.predictions.packing import Packing
from hvcod.codistill.predictions.sampled import offsets
from hvcod.codistill.teachers.fixed import digest_of
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.evaluate import mean_distribution, pairs
from hvcod.evaluation.models import Trained
from hvcod.evaluation.options import MOST_WHOLE, USUAL_SAMPLE, StoreOptions
from hvcod.evaluation.storing.shards import ShardWriter, index_of
from hvcod.groups.split import Group
from hvcod.tasks import task_name
from hvcod.tasks.base import Task
from hvcod.tasks.columns import fingerprint, image
from hvcod.tasks.files import write_whole
from hvcod.tasks.preparing.pipeline import Look, Preparation, Report
from hvcod.tasks.preparing.workspace import Stage
from hvcod.tensorfile.meaning import digest
from hvcod.training.run.data import DataRecord
from hvcod.training.stored.store import FORMAT, Places
from hvcod.training.validation import predicted_logits

FEWEST_SHARDS = 64
SHARD_BYTES = 2**26
"""The store has a shard for each so many bytes: what an interruption costs a rank at most."""

STORED = Stage("stored", "predicting training", "prediction", item="shard")


@dataclass(frozen=True)
class _Model:
    """A model as a source of a preparation."""

    name: str
    size: int


class Storing(Preparation):
    """The writing of a store of predictions; `run` writes it, or finishes one. Collective.

    Args:
        models: Of one task; of several the mean of their predictive distributions is stored.
        folder: The store: new, empty, or that of the same teachers, data and options.
        packing: The form of the predictions.
        seed: Of the samples.
        ranks: The ranks that share the work.

    Attributes:
        places: The places of the training part; few lack a prediction.

    Raises:
        UsageError: The task gives its predictions no places.
        HvcodError: The models cannot be combined.
    """

    data_format = FORMAT
    option = "--teacher-store"
    stages: ClassVar[Sequence[Stage]] = (STORED,)

    def __init__(
        self, models: Sequence[Trained], folder: Path, packing: Packing, seed: int, ranks: Group
    ) -> None:
        sources = [_Model(model.path.name, model.path.stat().st_size) for model in models]
        super().__init__(sources, folder, packing, ranks.comm)
        self._models, self._packing, self._seed, self._ranks = models, packing, seed, ranks
        self._pairs, self.places = pairs(models), places_of(models[0].task)

    @property
    def bytes(self) -> int:
        """The bytes of all predictions."""
        return self.places * self._packing.row.itemsize

    def load(self) -> None:
        """Nothing: all options are known to be right."""

    def clear(self) -> None:
        """Deletes the store that is there, finished or not, if there is one. Collective.

        Raises:
            UsageError: The folder holds something else.
        """
        self.workspace.clear(FORMAT.name)

    def digests(self) -> dict[str, Any]:
        """Returns what the predictions follow from besides their form."""
        task = self._models[0].task
        data, precision = self._data, task.options.precision
        # Stores of earlier versions name none.
        computed = {} if precision == "fp32" else {"precision": precision}
        return computed | {
            "format": FORMAT.name,
            "teachers": [digest_of(model.model) for model in self._models],
            "task": task_name(task.options.task),
            "data": [data.meaning, data.content],
            "places": self.places,
            "seed": self._seed if self._packing.kind == "sample" else None,
        }

    @cached_property
    def _data(self) -> DataRecord:
        # To look for what the examples are may take a while: their files are listed.
        return DataRecord.of(self._models[0].task)

    def work(self) -> None:
        """Predicts the shards. Collective."""
        self._shards = max(FEWEST_SHARDS, -(-self.bytes // SHARD_BYTES))
        self.each(STORED, range(self._shards), self._store)

    def _store(self, shard: int, look: Look) -> dict[str, Any]:
        writer = ShardWriter(self.output, shard, self._packing)
        for number, (places, logits) in enumerate(self._predictions(shard)):
            random = offsets(len(places), self._seed, shard, number)
            writer.add(places, self._packing.pack(logits, random))
            look(writer.count)
        return writer.finish()

    def _predictions(self, shard: int) -> Iterator[tuple[Places, Tensor]]:
        """Yields places and logits, [N] or [N, classes], of the predictions of a shard."""
        (task, model), *others = self._pairs
        seat = copy.copy(task)
        seat.group = replace(self._ranks, rank=shard, size=self._shards)
        models = [(seat, model), *others]
        for batch, answers in predicted_logits(models, "training", self._models[0].device):
            if batch.places is None:
                raise UsageError(_no_places(task))
            logits, kept = self._mean(answers), batch.places >= 0
            if len(logits) != len(kept):
                raise HvcodError(
                    f"a batch of the task has {len(kept)} places and {len(logits)} predictions"
                )
            if not kept.all():
                logits = logits[torch.from_numpy(kept).to(logits.device)]
            yield batch.places[kept], logits

    def _mean(self, answers: Sequence[Tensor]) -> Tensor:
        """Returns logits of the mean distribution at the temperature; of one model, its own."""
        task, binary = self._models[0].task, self._packing.classes is None
        if len(answers) == 1:
            return answers[0].flatten() if binary else answers[0].flatten(0, -2)
        temperature = self._packing.temperature
        softened = [task.log_probabilities(logits / temperature) for logits in answers]
        logs = mean_distribution(softened, self._models)
        return temperature * (logs[:, 1] - logs[:, 0] if binary else logs)

    def conclude(self) -> tuple[Report, dict[str, Any]]:
        """Writes the index; returns the report and the description."""
        results = self.results(STORED, range(self._shards))
        files = [file for result in results for file in result["files"]]
        index = index_of([file["runs"] for file in files])
        count = int(index["count"].sum())
        if not count:
            raise HvcodError("the training part has no examples")
        write_whole(self.output / "index.h5", image(index, FORMAT))
        packing, data = self._packing, self._data
        any_temperature = packing.kind == "whole" and len(self._models) == 1
        description = {
            **FORMAT.attributes(),
            "task": task_name(self._models[0].task.options.task),
            "data": asdict(data),
            "packing": packing.to_dict(),
            "temperature": None if any_temperature else packing.temperature,
            "teachers": [
                {"name": one.name, "path": str(one.path), "step": one.step, "digest": digest}
                for one, digest in zip(self._models, self.plan["teachers"], strict=True)
            ],
            "predictions": count,
            "digest": digest([self.plan, fingerprint(index), [file["content"] for file in files]]),
            "plan": self.plan,
            "shards": [file["file"] for file in files],
        }
        return {"predictions": count, "bytes": count * packing.row.itemsize}, description


def packing_of(models: Sequence[Trained], options: StoreOptions) -> Packing:
    """Returns the form in which the predictions of some models are stored.

    Raises:
        UsageError: The form does not fit the task.
        HvcodError: The training part has no examples.
    """
    classes = _classes(models[0])
    if options.sample:
        return Packing(classes, "sample", options.sample, options.temperature)
    if options.top_k:
        return Packing(classes, "top", options.top_k, options.temperature)
    if options.whole or classes is None or classes <= MOST_WHOLE:
        return Packing(classes, temperature=options.temperature)
    return Packing(classes, "sample", USUAL_SAMPLE, options.temperature)


def _classes(model: Trained) -> int | None:
    """Returns the number of classes that a model predicts, as its first batch shows."""
    if model.task.likelihood == "binary":
        return None
    alone = copy.copy(model.task)
    alone.group = replace(model.task.group, rank=0, size=1)
    for _, (logits,) in predicted_logits([(alone, model.model)], "training", model.device):
        return int(logits.shape[-1])
    raise HvcodError("the training part has no examples")


def places_of(task: Task) -> int:
    """Returns the places of the training part; raises UsageError if the task gives none."""
    places = task.places_in("training")
    if places is None:
        raise UsageError(_no_places(task))
    return places


def _no_places(task: Task) -> str:
    return (
        f"--teacher-store: the task {task.options.task} does not say which prediction is which: "
        "give Batch.places in training_data() and evaluation_data(), and places_in() (see "
        "hvcod.tasks.base)"
    )
