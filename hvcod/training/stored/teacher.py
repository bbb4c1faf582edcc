"""Stored teachers: they look their predictions up, by the places of a batch."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from hvcod.codistill.losses import TAKE_SAMPLES
from hvcod.codistill.predictions.packing import Rows
from hvcod.codistill.predictions.sampled import Prediction
from hvcod.codistill.projected import computed
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.codistill.teachers.fixed import Unchanging
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.tasks import task_name
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.tensorfile.meaning import difference
from hvcod.training.run.data import DataRecord
from hvcod.training.stored.store import Places, PredictionStore

_AHEAD = 4
"""Batches whose predictions may wait for the training thread."""


class StoredTeacher(Unchanging):
    """A teacher whose predictions were stored before; it needs no model.

    It has predicted the examples as an evaluation shows them: images are not augmented, and a token
    follows on the text before it in the data, from where the evaluation's texts begin. Where there
    is no prediction, as for the first token of all, it agrees with the student.
    """

    basis: ClassVar[str] = "predictions"

    def __init__(self, store: PredictionStore, name: str) -> None:
        names = ", ".join(str(model["name"]) for model in store.teachers)
        super().__init__(name, name, f"{store.folder}, predictions of {names}")
        self._store = store
        self._found: dict[bytes, tuple[Rows, np.ndarray]] = {}

    @property
    def digest(self) -> str:
        """The digest of its predictions."""
        return self._store.digest

    @property
    def general(self) -> bool:
        """False: there are predictions of the training data alone."""
        return False

    def look_up(self, places: Places, most: int = _AHEAD) -> None:
        """Reads the predictions for a batch that is about to be asked; in any thread.

        The oldest are forgotten if more batches wait for a question than `most`.

        Raises:
            HvcodError: They cannot be read.
        """
        while len(self._found) >= most:  # without a question, as in the burn-in
            self._found.pop(next(iter(self._found)))
        self._found[places.tobytes()] = self._store.rows(places)

    def predict(self, question: Question, state: Any) -> tuple[Prediction, Any]:
        """Returns its predictions of a batch of the training data; it has no hidden state.

        Raises:
            HvcodError: The places of the batch are unknown, it has others classes than the student,
                or the store cannot be read.
        """
        places, packing, like = question.places, self._store.packing, question.like
        if places is None:
            raise HvcodError(f"{self.name}: batches must tell their places (see Batch.places)")
        rows, known = self._found.pop(places.tobytes(), None) or self._store.rows(places)
        flat = like.reshape((-1,) if packing.classes is None else (-1, like.shape[-1]))
        if flat.shape[0] != len(rows) or packing.classes not in (None, flat.shape[-1]):
            raise HvcodError(
                f"{self.name} has {len(rows)} predictions ({packing.described}) for a batch of "
                f"{tuple(like.shape)} logits of the student"
            )
        if not known.all():
            missing = np.flatnonzero(~known)
            mine = computed(flat[torch.from_numpy(missing).to(like.device)])
            rows[missing] = packing.pack(mine, np.full(len(missing), 0.5))
        found = packing.unpack(rows)
        return found.to(like.device).reshape(like.shape), None


class LookedUp:
    """Training data whose batches stored teachers look up in the thread that makes them."""

    def __init__(self, data: TrainingData, teachers: Sequence[StoredTeacher], parts: int) -> None:
        """The teachers will be asked for so many parts of each batch."""
        self._data, self._teachers, self._parts = data, teachers, parts
        self.state_dict, self.load_state_dict = data.state_dict, data.load_state_dict

    def next(self) -> Batch:
        """Returns the next batch of this rank."""
        batch = self._data.next()
        for part in batch.micro_batches(self._parts) if batch.places is not None else ():
            for teacher in self._teachers:
                assert part.places is not None
                teacher.look_up(part.places, _AHEAD * self._parts)
        return batch


def with_stored(data: TrainingData, teachers: Sequence[Teacher], parts: int = 1) -> TrainingData:
    """Returns training data in whose thread those of some teachers that are stored look ahead.

    Each batch is learned in so many parts.
    """
    stored = [teacher for teacher in teachers if isinstance(teacher, StoredTeacher)]
    return LookedUp(data, stored, parts) if stored else data


def check(store: PredictionStore, task: Task) -> None:
    """Raises HvcodError if the predictions of a store do not fit a run of a task on its data."""
    if problem := _misfit_of_data(store, task) or _misfit_of_form(store, task.options.codistill):
        raise HvcodError(f"--teacher {store.folder}: {problem}")


def _misfit_of_data(store: PredictionStore, task: Task) -> str:
    name, data = task_name(task.options.task), DataRecord.of(task)
    if store.task != name:
        return f"its predictions are of the task {store.task}, that of this run is {name}"
    if different := difference(store.data.meaning, data.meaning):
        return f"its predictions are of data of another meaning than those of this run: {different}"
    if problem := store.data.examples_problem(data):
        return f"{problem}; store predictions of those (hvcod predict --data)"
    if task.places_in("training") is None:
        return f"the task {name} gives its predictions no places (see Batch.places)"
    return ""


def _misfit_of_form(store: PredictionStore, options: CodistillOptions) -> str:
    loss, packing, temperature = options.distill_loss, store.packing, store.temperature
    if packing.kind != "whole" and loss not in TAKE_SAMPLES:
        return (
            f"--distill-loss {loss} needs the logits of all classes, and it has "
            f"{packing.described}: use --distill-loss {TAKE_SAMPLES[0]}, or store all of them "
            "(hvcod predict --whole)"
        )
    if temperature not in (None, options.temperature):
        return (
            f"its predictions were stored with --temperature {temperature:g}, and this run has "
            f"{options.temperature:g}: use the same"
        )
    return ""
