"""The contract of a task: data, model, loss, metrics and presets of one thing to train."""

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill.joint import CrossEntropy
from hvcod.codistill.parts import WHOLE, Part
from hvcod.codistill.projected import Predicted, computed
from hvcod.codistill.rows import precision_of
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.groups.split import Group, alone
from hvcod.tasks.metrics import UNKNOWN, Metric, negative_log_likelihood
from hvcod.tasks.reading.files import listing_digest
from hvcod.tasks.serving import Served
from hvcod.tree import map_tensors

__all__ = ["UNKNOWN", "Batch", "Ids", "Task", "TrainingData"]

Ids = Sequence[str] | npt.NDArray[np.int64]
"""A name or a number for each prediction, by which files of predictions are compared."""

LIMITS = ("training_examples", "training_window", "training_bootstrap")
"""The options of a run that choose some of the training part; see `Task.limits_training`."""


@dataclass(frozen=True)
class Batch:
    """The examples that one rank trains on in one step, or evaluates at once.

    Attributes:
        inputs: What the model sees: a tensor, or a tuple or mapping of tensors, whose first
            dimension counts examples.
        targets: The right answers: class indices, [N] or [N, T]; `UNKNOWN` is not scored.
        ids: For evaluation: an id of each prediction, in the order of the flattened targets; a
            negative number marks padding, which is not a prediction.
        begins: For evaluation: whether it is the first of a sequence; hidden states start anew.
        places: The place of each prediction in its part, int64, in the order of the flattened
            targets; a negative number marks padding. It is the same whether a batch is for training
            or for evaluation: stored predictions are found by it. None: the task gives none.
        part: The part of a batch that this is, if one is learned in parts.
        weight: The weight of its loss in the mean over the parts of a batch.
    """

    inputs: Any
    targets: Tensor
    ids: Ids | None = None
    begins: bool = True
    places: npt.NDArray[np.int64] | None = None
    part: Part = WHOLE
    weight: float = 1.0

    def parts(self, count: int) -> "list[Batch]":
        """Returns equal parts of a batch for training, in the order of its rows.

        The loss of the batch is the mean of theirs by their `weight`, which goes by the predictions
        that are scored: a part may have more of them than another.

        Raises:
            HvcodError: The rows do not divide into so many parts.
        """
        if count == 1:
            return [self]
        scored = int((self.targets != UNKNOWN).sum())
        return [self._only(Part(index, count, self.part), scored) for index in range(count)]

    def micro_batches(self, accumulate: int) -> "list[Batch]":
        """Returns the batch in equal parts, each no larger than ``--accumulate`` makes it.

        A batch that is itself a part of one is smaller already.
        """
        return self.parts(accumulate // math.gcd(accumulate, self.part.whole.count))

    def weigh(self, loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
        """Returns the loss of logits on the batch, by its `weight`; zero if nothing is scored."""
        if not self.weight:  # the mean over no predictions is NaN
            return logits.sum() * 0.0
        value = loss(logits, self.targets)
        return value if self.weight == 1 else value * self.weight

    def _only(self, part: Part, scored: int) -> "Batch":
        """Returns a part of the batch, which has so many predictions that are scored."""
        targets, places = part.rows(self.targets), self.places
        if places is not None:
            places = np.split(places, part.count)[part.index]
        mine = int((targets != UNKNOWN).sum())
        return Batch(
            map_tensors(part.rows, self.inputs),
            targets,
            places=places,
            part=part,
            weight=mine * part.count / scored if scored else 1.0,
        )

    def to(self, device: torch.device) -> "Batch":
        """Returns the same batch on another device."""
        if device.type == "cpu":
            return self
        inputs = map_tensors(lambda tensor: tensor.to(device, non_blocking=True), self.inputs)
        targets = self.targets.to(device, non_blocking=True)
        return dataclasses.replace(self, inputs=inputs, targets=targets)


class TrainingData(Protocol):
    """An endless stream of batches that knows its exact position."""

    def next(self) -> Batch:
        """Returns the next batch of this rank."""

    def state_dict(self) -> Mapping[str, np.ndarray]:
        """Returns the position of this rank: arrays whose first dimension counts its examples.

        So a group can be resumed with a different number of ranks that share the same examples.
        """

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Puts the stream back to a position that `state_dict` returned."""


class Task(ABC):
    """One thing to train, as one rank of one group sees it.

    Attributes:
        Options: The task's own options, the section ``model`` of the tree (`hvcod.config.option`).
        presets: Sets of defaults by name: {key: value}; every task has ``laptop`` and ``paper``.
        likelihood: What the logits predict. ``classes``: the logarithm of a probability of each
            class, up to a constant, in the last dimension. ``binary``: each is that of a yes
            against a no. Loss, distillation loss and predictions follow from it.
        state_rows: The dimension of the tensors in a hidden state that counts examples.
        bootstraps: Whether its training data follow ``--bootstrap`` (`hvcod.tasks.shuffle.Share`).
        limits_training: Whether its training data follow ``--training-examples``,
            ``--training-window`` and ``--training-bootstrap`` (`Share.chosen`).
        not_compiled: The Python modules whose code ``--compile`` leaves as it is, such as one with
            operations that the compiler does not know.
    """

    Options: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    likelihood: ClassVar[str] = "classes"
    state_rows: ClassVar[int] = 0
    bootstraps: ClassVar[bool] = False
    limits_training: ClassVar[bool] = False
    not_compiled: ClassVar[Sequence[str]] = ()

    def __init__(self, options: TrainOptions, group: Group) -> None:
        self.options, self.group = options, group

    @classmethod
    def check(cls, options: TrainOptions) -> None:
        """Raises UsageError if the task cannot do what options of a run want."""
        if options.bootstrap and not cls.bootstraps:
            raise UsageError(
                f"--bootstrap: the task {options.task} does not draw samples; let its "
                "training_data() use Share.drawn of hvcod.tasks.shuffle, and its class say "
                "bootstraps = True"
            )
        given = next((name for name in LIMITS if getattr(options, name) is not None), None)
        if given and not cls.limits_training:
            raise UsageError(
                f"--{given.replace('_', '-')}: the task {options.task} trains on all examples "
                "there are; let its training_data() use Share.chosen of hvcod.tasks.shuffle, and "
                "its class say limits_training = True"
            )
        if options.codistill.teacher_sample is not None and cls.likelihood == "binary":
            raise UsageError(
                f"--teacher-sample: predictions of {options.task} are a yes or no each, of which "
                "there is nothing to sample; leave it out"
            )

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Returns a freshly initialised model; the caller has seeded torch."""

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The numbers that `build_model` takes from the data, such as the size of a vocabulary.

        A task whose `build_model` goes by these numbers alone, and which finds them in the weights
        of a model (`sizes_of`), is rebuilt where its data are not: see `without_data`.
        """
        return {}

    @classmethod
    def sizes_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, int] | None:
        """Returns `sizes` by the shapes of a model's weights; None: it takes the data to know.

        Raises KeyError or IndexError if they are those of another model.
        """
        return None

    @classmethod
    def without_data(
        cls, options: TrainOptions, shapes: Mapping[str, tuple[int, ...]]
    ) -> Self | None:
        """Returns a task that builds and uses the model with weights of such shapes, and no data.

        None if the task needs its data for that. Raises what `sizes_of` does.
        """
        sizes = cls.sizes_of(shapes)
        if sizes is None:
            return None
        task = cls.__new__(cls)
        Task.__init__(task, options, alone())
        task.sizes = sizes
        return task

    def served(self, model: nn.Module) -> Served:
        """Returns a model as `hvcod export --with-model` writes it, to be used without hvcod.

        By default it maps the inputs of a batch to what `hvcod predict` writes. A task whose
        `predict` returns a hidden state overrides this, with a `Served` that takes and returns it.
        """
        return Served(self, model)

    def with_model(self, model: Any) -> Self:
        """Returns this task with other options of its own, such as those of another group's model.

        Only its `build_model` and `predict` are used. By default a shallow copy, of which
        ``options.model`` is another: a task that keeps what follows from these options in its
        constructor overrides this.
        """
        other = copy.copy(self)
        other.options = dataclasses.replace(self.options, model=model)
        return other

    @abstractmethod
    def training_data(self) -> TrainingData:
        """Returns this rank's share of the training data.

        Everything random about the data (order, offsets, crops) follows from ``data_seed`` of the
        options, never from ``seed``: with ``--order-seed`` several runs see the same data in the
        same order and differ in their weights alone.
        """

    @abstractmethod
    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """Yields this rank's share of one pass over a part of the data, the same in every group.

        The part is divided into sequences of batches, most often of one batch each, in a way that
        does not depend on the ranks: rank r of n gets every n-th of them from the r-th on, so that
        predictions are the same for any number of ranks. ``validation_examples`` of the options
        limits the pass.

        Raises:
            HvcodError: The data have no such part; most have ``validation`` and ``training``.
        """

    def places_in(self, part: str) -> int | None:
        """Returns the number of `Batch.places` in a part, from 0 on; None if the task gives none.

        A place may lack a prediction, as the first token of a text does.
        """
        return None

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the task loss (phi of Algorithm 1), a scalar: the mean over scored predictions.

        By default the cross entropy of the likelihood, in nats. With ``--precision bf16`` or
        ``fp16`` logits may be halves, and the loss has to be computed in float32, as it is here.
        """
        logits = logits.to(precision_of(logits))
        if self.likelihood == "binary":
            known = targets != UNKNOWN
            yes = targets[known].to(logits.dtype)
            return F.binary_cross_entropy_with_logits(logits[known], yes)
        return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=UNKNOWN)

    def phi(self, batch: Batch) -> Callable[[Predicted], Tensor]:
        """Returns `loss` on a batch, by its weight, as a function of anybody's logits.

        By default, for several classes, it is a `CrossEntropy`, which needs no stored logits.
        """
        if self.likelihood == "classes" and type(self).loss is Task.loss:
            return CrossEntropy(batch.targets, UNKNOWN, batch.weight)
        return lambda logits: batch.weigh(self.loss, computed(logits))

    @classmethod
    def days(cls, data: Path) -> Sequence[int] | None:
        """Returns the examples of each day of the training part, in the order of the data.

        A day is any period after which users retrain. None, as by default, if the data do not know
        them: then `hvcod churn run --data-sample days` takes equal shares.

        Raises:
            HvcodError: The data cannot be read.
        """
        return None

    def class_frequencies(self) -> npt.NDArray[np.float64] | None:
        """Returns how frequent each class is in the training data, [classes]; None if unknown.

        They sum to 1 and none is zero. Binary likelihoods have the classes no and yes.
        """
        return None

    def meaning(self) -> Mapping[str, Any]:
        """Returns the contents, by name, that give inputs and outputs their meaning.

        For example the words of a vocabulary, or the names of the classes in their order: bytes or
        trees of plain values. Models and data that differ in one of them have the same shapes and
        give wrong numbers, so hvcod refuses to put them together and names what differs. What is
        not named here is not compared.
        """
        return {}

    def content(self) -> str:
        """Returns a digest of the examples, by which a resumed run notices that others came.

        By default that of the names and sizes of the files below ``--data``. If it is empty, the
        path of the data is compared.
        """
        return listing_digest(self.options.data)

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Returns the logits of a student or teacher, and its hidden state for the next batch.

        `state` is the hidden state after the previous batch, None at first: dictionaries, lists,
        tuples, plain values and tensors. The distillation loss may overwrite a teacher's logits:
        they must not be part of its state.
        """
        return model(inputs), None

    def outputs(self, model: nn.Module, inputs: Any, state: Any) -> tuple[Predicted, Any]:
        """Returns what `predict` does, or what the logits are to be computed from.

        For tasks of many classes: of `Projected` logits a training step computes a few at a time.
        """
        return self.predict(model, inputs, state)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Returns predictive distributions, [N, classes] in float32 and natural logarithms."""
        if self.likelihood == "binary":
            logits = logits.flatten()
            return F.logsigmoid(torch.stack([-logits, logits], dim=1).float())
        return torch.log_softmax(logits.flatten(0, -2), dim=-1, dtype=torch.float32)

    def predictions(self, log_probabilities: Tensor) -> Tensor:
        """Returns what `hvcod predict` writes: probabilities [N, classes], or of a yes [N]."""
        probabilities = log_probabilities.exp()
        return probabilities[:, 1] if self.likelihood == "binary" else probabilities

    def metrics(self) -> dict[str, Metric]:
        """Returns what is measured of a model besides training; ``loss`` is always among them."""
        return {"loss": negative_log_likelihood()}

    def reference(self) -> Mapping[str, float]:
        """Returns validation losses to compare with, by name, such as that without any context."""
        return {}
