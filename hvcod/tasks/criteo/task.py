"""Click prediction (paper, sections 3.1 and 3.5)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from hvcod.config import TrainOptions, option
from hvcod.groups.split import Group
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.tasks.builtin import data_folder
from hvcod.tasks.criteo.dataset import ClickDataset
from hvcod.tasks.criteo.model import ClickModel
from hvcod.tasks.criteo.stream import GroupRows, RowStream, batch_of
from hvcod.tasks.metrics import AreaUnderCurve, Metric, negative_log_likelihood
from hvcod.tasks.shuffle import Share
from hvcod.values import Sizes

SCORED_ROWS = 1024
"""Rows of a batch of an evaluation, for any number of ranks."""


@dataclass(frozen=True)
class ClickModelOptions:
    """Sizes of the click model; the layers are the paper's."""

    embedding: int = option(16, "size of the embedding of a category", minimum=1)
    hidden: Sizes = option(Sizes("2560,1024,256"), "units of the ReLU layers, such as 64,32")


class Criteo(Task):
    """Predicting whether an advertisement is clicked on; an example is a row."""

    Options = ClickModelOptions
    bootstraps = True
    limits_training = True
    likelihood = "binary"  # a click or none
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Section 3.1: Adagrad with learning rate 0.001. Batch and epochs are not in the paper.
        "paper": {
            "batch_size": 512,
            "steps": 80_000,
            "validation_interval": 4000,
            "validation_examples": 1_000_000,
            "save_interval": 2000,
            "codistill.burn_in": 20_000,
            "optimizer.algorithm": "adagrad",
            "optimizer.learning_rate": 1e-3,
            "optimizer.warmup": 0,
            "optimizer.clip": 0.0,
        },
        # Less than two epochs of a hundred thousand rows: the loss jumps when a third one begins.
        # Half of so few rows is too little: every group reads all, in its own order.
        "laptop": {
            "group_batch_size": 512,
            "steps": 345,
            "same_data": True,
            "save_interval": 100,
            "validation_interval": 69,
            "validation_examples": 20_000,
            "codistill.exchange_interval": 10,
            "codistill.burn_in": 150,
            "codistill.distill_weight": 16.0,
            "optimizer.algorithm": "adagrad",
            "optimizer.learning_rate": 2e-2,
            "optimizer.schedule": "drops",
            "optimizer.drops": "0.85",
            "optimizer.warmup": 0,
            "optimizer.clip": 0.0,
            "model.embedding": 8,
            "model.hidden": "64,32",
        },
    }

    def __init__(self, options: TrainOptions, group: Group) -> None:
        """Opens the data, or generated rows without ``--data``. Collective over the launch."""
        super().__init__(options, group)
        self.dataset = ClickDataset(data_folder("criteo", options.data, group))

    def build_model(self) -> nn.Module:
        """Builds one table of embeddings, ReLU layers and one logit."""
        sizes: ClickModelOptions = self.options.model
        return ClickModel(self.sizes["table_rows"], sizes.embedding, sizes.hidden.units)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The rows of the table of embeddings."""
        return {"table_rows": self.dataset.table_rows}

    @classmethod
    def sizes_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, int]:
        """Returns the same by the table."""
        return {"table_rows": shapes["table.weight"][0]}

    def training_data(self) -> TrainingData:
        """Returns rows that no other rank of any group reads, unless ``--same-data``."""
        group, size = self.group, self.options.batch_size
        self.dataset.part("validation")  # the first validation comes too late to fail
        rows = GroupRows(self.dataset, Share.of(self.options, group), group.trainers * size)
        return RowStream(rows, range(group.rank * size, (group.rank + 1) * size))

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """Yields this rank's rows of a part, in their order; an id is a row's."""
        group = self.group
        for rows in self._scored(part)[group.rank :: group.size]:
            ids = self.dataset.column("ids", rows.start, rows.stop)
            examples = self.dataset.examples(rows.start, rows.stop)
            places = np.arange(rows.start, rows.stop) - self.dataset.part(part).start
            yield batch_of(examples, places, ids.astype(np.int64))

    @classmethod
    def days(cls, data: Path) -> Sequence[int] | None:
        """Returns the training rows of each input file, such as day_0 to day_23."""
        return ClickDataset(data).training_rows_by_input()

    def places_in(self, part: str) -> int:
        """Returns the rows of a part."""
        return len(self.dataset.part(part))

    def meaning(self) -> Mapping[str, str]:
        """Returns the digests of the categories with rows of their own, and of the scales."""
        return self.dataset.meaning

    def content(self) -> str:
        """Returns the digest of the rows."""
        return self.dataset.content

    def class_frequencies(self) -> npt.NDArray[np.float64]:
        """Returns the shares of rows without and with a click in the training part."""
        rate = self.dataset.click_rate
        return np.array([1 - rate, rate])

    def metrics(self) -> dict[str, Metric]:
        """Returns log loss and area under the ROC curve."""
        return {"loss": negative_log_likelihood(), "auc": AreaUnderCurve()}

    def reference(self) -> Mapping[str, float]:
        """Returns the log loss of the click rate and, for generated rows, the best possible one."""
        labels = self._scored_column("labels")
        rate = np.full(len(labels), self.dataset.click_rate)
        losses = {"click_rate_entropy": log_loss(labels, rate)}
        if self.dataset.generated:
            probabilities = self._scored_column("probabilities").astype(np.float64)
            losses["best_possible_log_loss"] = log_loss(labels, probabilities)
        return losses

    def _scored(self, part: str) -> list[range]:
        """Returns the batches of an evaluation, spread evenly over the part."""
        rows = self.dataset.part(part)
        limit = min(self.options.validation_examples or len(rows), len(rows))
        batches = -(-limit // SCORED_ROWS)
        edges = [limit * number // batches for number in range(batches + 1)]
        gaps = [(len(rows) - limit) * number // batches for number in range(batches)]
        return [
            range(rows.start + gap + begin, rows.start + gap + end)
            for gap, begin, end in zip(gaps, edges, edges[1:], strict=False)
        ]

    def _scored_column(self, name: str) -> npt.NDArray[Any]:
        scored = self._scored("validation")
        return np.concatenate([self.dataset.column(name, r.start, r.stop) for r in scored])


def log_loss(labels: npt.NDArray[Any], probabilities: npt.NDArray[np.float64]) -> float:
    """Returns the log loss of probabilities of a click, in nats; unknown labels do not count."""
    known = labels >= 0
    if not known.any():
        return math.nan
    right = np.where(labels == 1, probabilities, 1 - probabilities)[known]
    return float(-np.log(right).mean())
