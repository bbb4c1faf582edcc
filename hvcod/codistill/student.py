"""The student: the model that a group trains, and what of it is published."""

import itertools
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hvcod.codistill.average import Average
from hvcod.codistill.outputs import Logits
from hvcod.codistill.teachers.base import Teacher
from hvcod.codistill.teachers.model import Architectures, Predict, TeacherSpec, copy_of
from hvcod.codistill.teachers.own import OwnAverage
from hvcod.codistill.topology import teachers_of
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.tensorfile.format import TensorSpec, specification, stored_dtypes


class Student:
    """A model as it was when its Codistiller was made; it is only read.

    Attributes:
        average: The average of its weights that is published; None: the weights are.
        weights_now: Returns its weights: by default the model's `state_dict`.
        changed_now: Returns the rows that the last update has changed, see `changed`.
    """

    def __init__(self, model: nn.Module, options: CodistillOptions | None = None) -> None:
        if not isinstance(model, nn.Module):
            raise HvcodError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
        self.model = model
        self._options = options or CodistillOptions()
        decay = self._options.publish_average
        self.average = None if decay is None else Average(model, decay)
        self.weights_now: Callable[[], Mapping[str, Tensor]] = model.state_dict
        self.changed_now: Callable[[], Mapping[str, Tensor] | None] = lambda: None
        self._device = _device_of(model)

    @cached_property
    def tensors(self) -> dict[str, TensorSpec]:
        """The names, shapes and types that its published checkpoints have.

        Raises:
            HvcodError: Its `state_dict` holds something that cannot be published.
        """
        tensors = self.model.state_dict()
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise HvcodError(
                    f"the model cannot be published: {name} of its state_dict() is "
                    f"{type(tensor).__name__}, not a tensor"
                )
            if is_lazy(tensor):
                raise HvcodError(
                    f"the model cannot be published yet: {name} has no shape; send one batch "
                    "through the model before you make the Codistiller"
                )
            stored_dtypes(name, tensor.dtype)
        return specification(tensors)

    def weights(self) -> Mapping[str, Tensor]:
        """Returns what is published; raises HvcodError if the model has other tensors than then."""
        weights = self.average.weights() if self.average else self.weights_now()
        here = specification(weights)
        if here != self.tensors:
            names = {**here, **self.tensors}
            name = next(name for name in names if here.get(name) != self.tensors.get(name))
            raise HvcodError(
                f"the model has changed since the Codistiller was made, first in {name}: make the "
                "Codistiller when the model has its final layers and types"
            )
        return weights

    def changed(self) -> Mapping[str, Tensor] | None:
        """Returns the rows of embedding tables in which the last update changed what is published.

        Each once, by the table's name; the other rows are as before. None, if that is not known.
        """
        return None if self.average else self.changed_now()

    def teachers(self, predict: Predict, logits: Logits) -> list[Teacher]:
        """Returns the average of its weights as its own teacher, if that is asked for.

        Raises:
            HvcodError: The model cannot be copied.
        """
        if not self._options.teach_self:
            return []
        if self.average is None:
            raise UsageError("teach_self needs publish_average, such as 0.999")
        precision = self._options.teacher_precision
        return [OwnAverage(self.model, self.average, predict, logits, precision)]

    def updated(self) -> None:
        """Notes an update of the model."""
        if self.average:
            self.average.update()

    def state_dict(self) -> dict[str, Any]:
        """Returns what is kept beside the model, by name."""
        return {"average": self.average.state_dict()} if self.average else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state that has what `state_dict` returned; raises HvcodError if not."""
        if self.average and "average" not in state:
            raise HvcodError(
                "the state has no average of the weights: it was saved without publish_average"
            )
        if self.average:
            self.average.load_state_dict(state["average"])

    def check_device(self) -> None:
        """Raises HvcodError if the model has moved to another device."""
        if (device := _device_of(self.model)) != self._device:
            raise HvcodError(
                f"the model was on {self._device} when the Codistiller was made and is on {device} "
                "now: move it to its device first"
            )


def copies(
    student: Student,
    group: Group,
    topology: str,
    model: str = "",
    others: Architectures | None = None,
) -> list[TeacherSpec]:
    """Returns teachers that are copies of the student: those that the topology names.

    Args:
        model: The architecture of the student, as its checkpoints name it.
        others: Makes models of other architectures, which the teachers' checkpoints may name.
    """
    build, groups = partial(copy_of, student.model), teachers_of(group.index, group.count, topology)
    return [TeacherSpec(teacher, build, student.tensors, model, others) for teacher in groups]


def _device_of(model: nn.Module) -> torch.device | None:
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), None)
