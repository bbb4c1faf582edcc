"""Teachers that no exchange feeds: finished models, and others that are fixed."""

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from hvcod.codistill.outputs import Logits
from hvcod.codistill.teachers.base import Teacher
from hvcod.codistill.teachers.model import ModelTeacher, Predict
from hvcod.errors import HvcodError


class Unchanging(Teacher):
    """A teacher that stays as it is throughout (paper, section 3.4.1: offline distillation).

    A training state holds the digest of what it answers from, such as weights, which is read again
    from where it came. With others the training would go on differently.

    Attributes:
        basis: The plural of what it answers from.
    """

    basis: ClassVar[str] = "weights"

    @property
    @abstractmethod
    def digest(self) -> str:
        """The digest of all that it answers from."""

    def state_dict(self) -> dict[str, Any]:
        """Returns where it came from, its digest, and whether it is dropped."""
        return {"source": self.source, "digest": self.digest, "dropped": self.dropped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned; raises HvcodError if it was another teacher."""
        if state["digest"] != self.digest:
            before = state["source"] or "it"
            raise HvcodError(
                f"{self.name} ({self.source or 'given to the Codistiller'}) has other {self.basis} "
                f"than {before} had when this training was saved: go on with those"
            )
        self.dropped = state["dropped"]


class FixedTeacher(Unchanging, ModelTeacher):
    """A finished model that teaches throughout."""

    def __init__(
        self,
        model: nn.Module,
        predict: Predict,
        logits: Logits,
        name: str,
        source: str = "",
        precision: str = "fp32",
    ) -> None:
        # Of the weights as they were given: another precision may follow.
        self._digest = digest_of(model)
        super().__init__(model, predict, logits, name, name, source, precision)

    @property
    def digest(self) -> str:
        """The SHA-256 of its weights as they were given, with their names."""
        return self._digest

    def twin(self) -> "FixedTeacher":
        """Returns another teacher with the same model, and a hidden state of its own."""
        twin = copy.copy(self)
        twin.dropped, twin.state, twin._before = False, None, None
        return twin


def digest_of(model: nn.Module) -> str:
    """Returns the SHA-256 of a model's weights, with their names."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def numbered(
    fixed: Sequence[nn.Module | Teacher],
    student: nn.Module,
    predict: Predict,
    logits: Logits,
    precision: str = "fp32",
) -> dict[int, Teacher]:
    """Returns {-1, -2 and so on: teacher}; a model becomes a teacher that predicts as given.

    Raises:
        HvcodError: A model has parameters of the student, which freezing would stop from learning.
    """
    mine = {id(parameter) for parameter in student.parameters()}
    teachers = {}
    for number, one in enumerate(fixed, start=1):
        name = f"fixed teacher {number}"
        if isinstance(one, nn.Module):
            if any(id(parameter) in mine for parameter in one.parameters()):
                raise HvcodError(f"{name} shares parameters with the student: give it a copy")
            source = "given to the Codistiller"
            one = FixedTeacher(one, predict, logits, name, source, precision)
        teachers[-number] = one
    return teachers
