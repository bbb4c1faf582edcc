"""Teachers that are models: frozen, in evaluation mode, with hidden states of their own."""

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hvcod.codistill.outputs import Logits, logits_of
from hvcod.codistill.projected import Predicted, Projected, computed
from hvcod.codistill.teachers.base import Label, Question, Teacher
from hvcod.codistill.teachers.precision import held
from hvcod.errors import HvcodError
from hvcod.exchange.changes import merged
from hvcod.tensorfile.format import TensorSpec, specification

log = logging.getLogger("hvcod.codistill")

Predict = Callable[[nn.Module, Any, Any], tuple[Any, Any]]
"""(model, inputs, hidden state) -> (outputs, next hidden state); the state begins as None."""


class Architectures(Protocol):
    """Models of other architectures than the student's, by the text that checkpoints carry."""

    def tensors(self, model: str, held: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        """Returns the tensors of a model that a file claims to hold; on any thread.

        Raises:
            RefusedError: There is no such model.
        """
        ...

    def build(self, model: str) -> tuple[nn.Module, Predict]:
        """Returns the model, on the student's device, and how it predicts.

        Raises:
            RefusedError: There is no such model.
        """
        ...


@dataclass(frozen=True)
class TeacherSpec:
    """The description of a group's teacher, known before its first weights come.

    Attributes:
        group: The group that it is a copy of.
        build: Makes its model, on the student's device.
        tensors: Names, shapes and types of its checkpoints: those of the model's `state_dict`.
        model: Its architecture, as `Origin.model` says; empty if unknown.
        others: Makes the model if the group's checkpoints name another architecture; None: they
            are taken for the same.
    """

    group: int
    build: Callable[[], nn.Module]
    tensors: Mapping[str, TensorSpec]
    model: str = ""
    others: Architectures | None = None


class ModelTeacher(Teacher):
    """A model that answers without gradients."""

    def __init__(
        self,
        model: nn.Module,
        predict: Predict,
        logits: Logits,
        name: str,
        label: Label,
        source: str = "",
        precision: str = "fp32",
    ) -> None:
        """`precision` is one of ``--teacher-precision``; raises UsageError if it cannot be had."""
        super().__init__(name, label, source)
        self._precision, self._held = precision, held(model, precision)
        self._predict, self._logits = predict, logits

    @property
    def model(self) -> nn.Module:
        """The model, which is frozen and in evaluation mode."""
        return self._held.model

    @torch.no_grad()
    def predict(self, question: Question, state: Any) -> tuple[Predicted, Any]:
        """Returns the model's logits, and its next hidden state."""
        with self._held.running():
            outputs, state = self._predict(self.model, question.inputs, state)
        logits = logits_of(outputs, self._logits)
        if isinstance(logits, Projected) and isinstance(question.like, Projected):
            return logits, state
        return self._held.answer(computed(logits)), state


class GroupTeacher(ModelTeacher):
    """A stale copy of another group's model (paper, section 2.1); an exchange brings its weights.

    The hidden state outlives a refresh of the weights, as the student's outlives an update.
    """

    def __init__(
        self,
        spec: TeacherSpec,
        predict: Predict,
        logits: Logits,
        precision: str = "fp32",
        keeps: bool = True,
    ) -> None:
        """Makes the model now, so that a lack of memory shows at the start.

        Args:
            precision: One of ``--teacher-precision``.
            keeps: Whether its weights are kept as they were published, for `state_dict`, if they
                are held in less.

        Raises:
            HvcodError: The model cannot be made.
            UsageError: It cannot be held in this precision.
        """
        name = f"group {spec.group}"
        super().__init__(spec.build(), predict, logits, name, spec.group, precision=precision)
        self._spec, self._architecture, self._keeps = spec, spec.model, keeps
        self._tensors, self._published = spec.tensors, dict[str, Tensor]()
        self._step: int | None = None

    @property
    def here(self) -> bool:
        """True once its first weights have come."""
        return self._step is not None

    @property
    def step(self) -> int | None:
        """The step of its weights; None before the first have come."""
        return self._step

    def predict(self, question: Question, state: Any) -> tuple[Predicted, Any]:
        """Returns the model's logits, and its next hidden state.

        A model of another architecture may predict something else than the student: it answers NaN
        then, for which it is left out.
        """
        logits, state = super().predict(question, state)
        known = question.like.numel() and self._architecture != self._spec.model
        if not known or logits.shape == question.like.shape:
            return logits, state
        log.warning(
            "%s predicts logits of shape %s, this group of shape %s: it cannot teach",
            self.name,
            tuple(logits.shape),
            tuple(question.like.shape),
        )
        return question.alike(torch.tensor(math.nan)), None

    def load(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        model: str = "",
        base: int | None = None,
    ) -> bool:
        """Puts fresher weights into it, changes in place; half precision widens here.

        If they are those of another architecture, the model is made anew.

        Raises:
            HvcodError: They are changes upon other weights than it has.
        """
        if base not in (None, self._step):
            raise HvcodError(
                f"{self.name} has step {self._step}, and changes upon step {base} came"
            )
        other = self._become(model or self._spec.model)
        self._held.load(tensors)
        if self._keeps and not self._held.exact:
            whole = base is None
            self._published = dict(tensors) if whole else merged(self._published, tensors)
        self._step = step
        if self.dropped:
            log.info("%s teaches again, with its weights of step %d", self.name, step)
        self.dropped = False
        return other

    def state_dict(self) -> dict[str, Any]:
        """Returns its step, its architecture, its weights, and whether it is dropped.

        The weights are those that were published, so that another precision may follow; none, if
        they are held in less and another rank keeps them.
        """
        weights = _narrowed(self.model) if self._held.exact else self._published
        return {
            "step": self._step,
            "model": self._architecture,
            "weights": weights,
            "dropped": self.dropped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned; raises HvcodError if the model was another."""
        # States of earlier versions say nothing of it, nor whether it is dropped.
        architecture = state.get("model", "")
        self._become(architecture or self._spec.model)
        if not state["weights"] and not self._held.exact:
            raise HvcodError(
                f"the state has no weights of {self.name}: with --teacher-precision "
                f"{self._precision} only that of the group root has them"
            )
        _check_weights(state["weights"], self._tensors)
        self.load(state["step"], state["weights"], architecture)
        self.dropped = state.get("dropped", False)

    def _become(self, architecture: str) -> bool:
        if architecture == self._architecture or self._spec.others is None:
            return False
        model, self._predict = self._spec.others.build(architecture)
        self._tensors = specification(model.state_dict())
        self._held, self._architecture = held(model, self._precision), architecture
        self.state = self._before = None
        log.info("%s trains a model of its own: %s", self.name, architecture)
        return True


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
