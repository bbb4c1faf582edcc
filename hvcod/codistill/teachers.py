"""Teachers: frozen stale copies of other groups' models (paper, section 2.1)."""

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hvcod.codistill.outputs import Logits, logits_of
from hvcod.errors import HvcodError
from hvcod.tensorfile.format import TensorSpec

log = logging.getLogger("hvcod.codistill")

Predict = Callable[[nn.Module, Any, Any], tuple[Any, Any]]
"""(model, inputs, hidden state) -> (outputs, next hidden state); the state begins as None."""


@dataclass(frozen=True)
class TeacherSpec:
    """The description of a teacher, known before its first weights come.

    Attributes:
        group: The group that it is a copy of.
        build: Makes its model, on the student's device.
        tensors: Names, shapes and types of its checkpoints: those of the model's `state_dict`.
    """

    group: int
    build: Callable[[], nn.Module]
    tensors: Mapping[str, TensorSpec]


@dataclass
class Teacher:
    """One teacher: its model, the step of its weights and the hidden state it carries.

    The hidden state outlives a refresh of the weights, as the student's outlives an update.

    Attributes:
        state: The hidden state after the last batch.
        before: That before the last batch.
        dropped: Whether its weights are left out, until fresher ones come.
    """

    model: nn.Module
    step: int
    state: Any = None
    before: Any = None
    dropped: bool = False


class Teachers:
    """The teachers of one rank, by group; each teaches from its first weights on."""

    def __init__(
        self,
        specs: Sequence[TeacherSpec],
        predict: Predict,
        logits: Logits = None,
        max_staleness: int | None = None,
    ) -> None:
        """Makes the models now, so that a lack of memory shows at the start.

        Teachers that are more than `max_staleness` steps behind do not teach; None: all do.

        Raises:
            HvcodError: A model cannot be made.
        """
        self._specs = {spec.group: spec for spec in specs}
        self._models = {spec.group: spec.build().eval().requires_grad_(False) for spec in specs}
        self._predict, self._logits, self._max_staleness = predict, logits, max_staleness
        self._teachers: dict[int, Teacher] = {}
        self._late: set[int] = set()

    @property
    def groups(self) -> list[int]:
        """The groups that may teach."""
        return sorted(self._specs)

    @property
    def steps(self) -> dict[int, int]:
        """{group: step} of the weights in use."""
        return {group: teacher.step for group, teacher in sorted(self._teachers.items())}

    @property
    def dropped(self) -> dict[int, int]:
        """{group: step} of the weights that are left out."""
        return {group: step for group, step in self.steps.items() if self._teachers[group].dropped}

    @property
    def usable(self) -> dict[int, int]:
        """{group: step} of the weights that are not left out."""
        return {g: step for g, step in self.steps.items() if not self._teachers[g].dropped}

    @property
    def models(self) -> dict[int, nn.Module]:
        """{group: model} of the teachers that are not left out."""
        return {group: self._teachers[group].model for group in self.usable}

    @property
    def hidden(self) -> dict[int, Any]:
        """{group: hidden state} of this rank's teachers."""
        return {group: teacher.state for group, teacher in sorted(self._teachers.items())}

    @hidden.setter
    def hidden(self, states: Mapping[int, Any]) -> None:
        for group, state in states.items():
            self._teachers[group].state = state

    def fresh(self, step: int) -> dict[int, int]:
        """Returns {group: step} of the usable teachers not too far behind a student's step."""
        limit, steps = self._max_staleness, self.usable
        late = {group for group in steps if limit is not None and step - steps[group] > limit}
        for group in late - self._late:
            log.warning(
                "step %d: group %d is %d steps behind, more than --max-staleness %s: left out "
                "until it catches up",
                step,
                group,
                step - steps[group],
                limit,
            )
        for group in self._late - late:
            log.info("step %d: group %d has caught up and teaches again", step, group)
        self._late = late
        return {group: taught for group, taught in steps.items() if group not in late}

    @torch.no_grad()
    def logits(self, inputs: Any, groups: Collection[int]) -> dict[int, Tensor]:
        """Returns {group: logits} of some teachers on a batch; advances their hidden states."""
        logits = {}
        for group in sorted(groups):
            teacher = self._teachers[group]
            teacher.before = teacher.state
            outputs, teacher.state = self._predict(teacher.model, inputs, teacher.state)
            logits[group] = logits_of(outputs, self._logits)
        return logits

    def drop(self, group: int) -> None:
        """Leaves a teacher's weights out until fresher ones come.

        Its hidden state begins anew then: it may hold what the weights have made of it.
        """
        teacher = self._teachers[group]
        teacher.dropped, teacher.state, teacher.before = True, None, None

    def rewind(self, groups: Collection[int]) -> None:
        """Takes back what the last batch did to the hidden states of some teachers."""
        for teacher in (self._teachers[group] for group in groups):
            # The first batch made the state: there is none to go back to.
            if teacher.before is not None:
                teacher.state = teacher.before

    def load(self, group: int, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Puts fresher weights into the teacher of a group; half precision widens here."""
        if group not in self._teachers:
            self._teachers[group] = Teacher(self._models[group], step)
        teacher = self._teachers[group]
        with torch.no_grad():
            for name, target in teacher.model.state_dict().items():
                target.copy_(tensors[name])
        teacher.step = step
        if teacher.dropped:
            log.info("group %d teaches again, with its weights of step %d", group, step)
        teacher.dropped = False

    def state_dict(self) -> dict[int, dict[str, Any]]:
        """Returns {group: {step, weights, dropped}}, the same on all ranks; with `hidden` all."""
        return {
            group: {
                "step": teacher.step,
                "weights": _narrowed(teacher.model),
                "dropped": teacher.dropped,
            }
            for group, teacher in sorted(self._teachers.items())
        }

    def load_state_dict(self, state: Mapping[int, Any]) -> None:
        """Goes on from what `state_dict` returned.

        Raises:
            HvcodError: Another group teaches there, or another model.
        """
        for group, teacher in state.items():
            if group not in self._specs:
                raise HvcodError(
                    f"the state has a teacher of group {group}, which does not teach here: go on "
                    "with the same groups and topology"
                )
            _check_weights(teacher["weights"], self._specs[group].tensors)
        for group, teacher in state.items():
            self.load(group, teacher["step"], teacher["weights"])
            # States of earlier versions do not say.
            self._teachers[group].dropped = teacher.get("dropped", False)


def copy_of(model: nn.Module) -> nn.Module:
    """Returns a copy of the student for a teacher, on the same device.

    Raises:
        HvcodError: The model cannot be copied.
    """
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise HvcodError(
                f"{name or 'the model'} is a {type(part).__name__}, of which no teacher can be "
                "made: make the Codistiller with the model as it was before torch.jit.script or "
                "torch.jit.trace (a model of torch.compile is no problem)"
            )
    try:
        return copy.deepcopy(model)
    # A user's model may hold anything, which may refuse in its own way.
    except Exception as error:
        raise HvcodError(
            f"the model cannot be copied to make a teacher of it ({' '.join(str(error).split())}): "
            "it must allow copy.deepcopy; old weight_norm and results of a forward pass that are "
            "kept in attributes do not"
        ) from error


def _check_weights(tensors: Mapping[str, Tensor], expected: Mapping[str, TensorSpec]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in {**shapes, **expected}:
        if name not in expected or shapes.get(name) != expected[name].shape:
            raise HvcodError(f"the state is that of another model: they differ in {name}")


def _narrowed(model: nn.Module) -> dict[str, Tensor]:
    """Returns the weights in half precision where that holds them exactly, as it mostly does."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        tensors[name] = half if torch.equal(half.to(tensor.dtype), tensor) else tensor
    return tensors
