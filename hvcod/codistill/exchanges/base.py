"""The contract of an exchange: how the weights of groups reach each other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from hvcod.codistill.outputs import Logits
from hvcod.codistill.teachers.base import Teacher
from hvcod.codistill.teachers.model import GroupTeacher, Predict, TeacherSpec
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError
from hvcod.exchange.poll import Failure
from hvcod.groups.split import Group
from hvcod.tensorfile.origin import Origin


class Offer(NamedTuple):
    """The student's `state_dict`, checked when it is called for, and where it comes from.

    `changed` returns the rows of embedding tables that the last update has changed, by the table's
    name; None, if that is not known.
    """

    weights: Callable[[], Mapping[str, Tensor]]
    origin: Origin
    changed: Callable[[], Mapping[str, Tensor] | None]


@dataclass(frozen=True)
class Update:
    """New weights of one teacher, the same on all ranks of the group that receives them.

    Attributes:
        model: The architecture of their model (`Origin.model`); empty: that of the student.
        created: When they were published (`Origin.created`); empty if they travel in no file.
        base: The step on whose weights they are changes (`hvcod.exchange.changes`), which the
            teacher has; None: they are whole.
    """

    group: int
    step: int
    tensors: Mapping[str, Tensor]
    model: str = ""
    created: str = ""
    base: int | None = None


class Exchange(ABC):
    """Carries the weights of a group to others and those of its teachers to it.

    Every rank of a group has one and makes the same calls, all collective over the group: `begin`
    once, `offer` and `take` after each step, `close` at the end. At which steps something is
    published or asked for is up to the exchange. Any wait ends when `stop` returns True.

    Attributes:
        steps: The run's steps, if they are known: no weights of later ones are taken.
    """

    steps: int | None = None

    def __init__(
        self,
        group: Group,
        run_dir: Path,
        options: CodistillOptions,
        teachers: Sequence[TeacherSpec],
        stop: Callable[[], bool],
    ) -> None:
        self._group, self._run_dir, self._options = group, run_dir, options
        self._teachers, self._stop = teachers, stop
        self._rejected: dict[int, int] = {}

    def teachers(self, predict: Predict, logits: Logits) -> dict[int, Teacher]:
        """Returns {group: teacher} of those that it brings weights for: by default, models here.

        Raises:
            HvcodError: A model cannot be made.
        """
        precision, keeps = self._options.teacher_precision, self._group.is_root
        return {
            spec.group: GroupTeacher(spec, predict, logits, precision, keeps)
            for spec in self._teachers
        }

    @abstractmethod
    def begin(self, origin: Origin, held: Mapping[int, int]) -> None:
        """Starts the exchange of the run and group that `origin` names.

        Weights of other runs are refused. `held` is {group: step} of the teachers' weights that
        are here already.
        """

    def adopt(self, teachers: Mapping[int, Teacher]) -> None:
        """Notes {key: teacher} of all teachers, of those as well that it brings nothing for."""
        return

    def follow(self, step: int, position: Mapping[str, Tensor]) -> None:
        """Notes after so many steps where this rank's data go on: those who predict them must know.

        Called once, before the first `take`, if the training loop is hvcod's. Not collective.
        """
        return

    def figures(self) -> Mapping[str, object]:
        """Returns figures for a line of metrics."""
        return {}

    def counters(self) -> Mapping[str, int]:
        """Returns {what is counted: how much} since it began."""
        return {}

    def summary(self) -> Mapping[str, object]:
        """Returns figures for the summary at the end, once it is closed."""
        return {}

    def prepare(self, offer: Offer) -> None:
        """Notes the weights before the first step of a launch; those of step 0 are offered.

        Called after `begin`, if the training loop is hvcod's.

        Raises:
            GroupFailedError: See `offer`.
        """
        if not offer.origin.step:
            self.offer(offer)

    @abstractmethod
    def offer(self, offer: Offer) -> None:
        """Publishes the weights after a step if it is time to.

        Raises:
            GroupFailedError: They had to be published and could not be.
        """

    @abstractmethod
    def take(self, step: int) -> list[Update]:
        """Returns the weights that the teachers switch to after a step.

        Raises:
            GroupFailedError: A teacher that must not be missing did not come.
        """

    def newest(self, step: int) -> list[Update]:
        """Returns weights that the teachers switch to just before a step; by default none."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Returns what a training state holds of it, on all ranks; by default nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned; called after `begin`.

        Raises:
            HvcodError: It has no state.
        """
        if state:
            raise HvcodError("the state is that of another exchange")

    def reject(self, group: int, step: int) -> None:
        """Notes that the weights of a teacher turned out to be useless: only others may follow.

        Called on all ranks.
        """
        self._rejected[group] = step

    def source(self, group: int, step: int) -> str:
        """Returns where the weights of a teacher came from, for messages."""
        return f"step {step} of group {group}"

    def problems(self) -> dict[str, Failure]:
        """Returns what failed, by a short description; on the group root, empty elsewhere."""
        return {}

    @abstractmethod
    def close(self, last: Offer | None) -> None:
        """Ends the exchange; publishes the final weights unless they have been, or are None."""


MakeExchange = Callable[
    [Group, Path, CodistillOptions, Sequence[TeacherSpec], Callable[[], bool]], Exchange
]
"""Makes an exchange of the arguments of `Exchange`: its class, or a function that picks one."""
