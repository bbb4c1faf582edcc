"""Models of other architectures than a group's own, built for its teachers (Zhang et al. 2017)."""

from collections.abc import Mapping

import torch
from torch import nn

from hvcod.codistill.student import Student, copies
from hvcod.codistill.teachers.model import Predict, TeacherSpec
from hvcod.tasks.architecture import options_of, tensors_of
from hvcod.tasks.base import Task
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.origin import Origin
from hvcod.training.compiling import outputs_of
from hvcod.training.state.part import RandomNumbers

_MOST_KNOWN = 100


def teachers_of_groups(task: Task, model: nn.Module, origin: Origin) -> list[TeacherSpec]:
    """Returns the descriptions of the teachers that the topology of a run names.

    They are copies of the model that this group trains, until their checkpoints name another.

    Args:
        origin: Names the architecture of the model.
    """
    student, topology = Student(model), task.options.codistill.topology
    device = next(model.parameters()).device
    return copies(student, task.group, topology, origin.model, OtherModels(task, device))


class OtherModels:
    """Models of one task, by the options that a published checkpoint names.

    The options are checked like a user's, and the file's tensors against those of the model, before
    a model gets any memory (`hvcod.tasks.architecture`).
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task, self._device = task, device
        self._known: dict[str, Mapping[str, TensorSpec]] = {}

    def tensors(self, model: str, held: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        """Returns the tensors of a model that a file claims to hold; on any thread.

        Raises:
            RefusedError: The task has no such model.
        """
        # A file comes every few steps, and the making of a model holds up Python's other threads.
        if model not in self._known:
            tensors = tensors_of(self._of(model), held)
            if len(self._known) == _MOST_KNOWN:
                self._known.clear()
            self._known[model] = tensors
        return self._known[model]

    def build(self, model: str) -> tuple[nn.Module, Predict]:
        """Returns the model on this group's device, and how it predicts.

        Its initial values, which nobody needs, leave the training's random numbers alone.

        Raises:
            RefusedError: The task has no such model.
        """
        task, numbers = self._of(model), RandomNumbers(self._device)
        before = numbers.state_dict()
        built = task.build_model().to(self._device)
        numbers.load_state_dict(before)
        return built, outputs_of(task)

    def _of(self, model: str) -> Task:
        return self._task.with_model(options_of(model, self._task.options.model))
