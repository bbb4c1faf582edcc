"""The teachers of one rank, by key."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from hvcod.codistill.predictions.sampled import AnyPrediction
from hvcod.codistill.teachers.base import Question, Teacher
from hvcod.errors import HvcodError

log = logging.getLogger("hvcod.codistill")


class Teachers:
    """The teachers of one rank by key: first those of the groups, then the others.

    The key of a teacher that an exchange feeds is its group; the others have -1, -2 and so on.
    """

    def __init__(self, teachers: Mapping[int, Teacher], max_staleness: int | None = None) -> None:
        """Teachers that are more than `max_staleness` steps behind do not teach; None: all do."""
        self._teachers = dict(sorted(teachers.items(), key=lambda one: (one[0] < 0, abs(one[0]))))
        self._max_staleness = max_staleness
        self._late: set[int] = set()

    def __getitem__(self, key: int) -> Teacher:
        return self._teachers[key]

    @property
    def keys(self) -> list[int]:
        """The keys of all teachers, of those as well whose first weights have not come."""
        return list(self._teachers)

    @property
    def steps(self) -> dict[int, int]:
        """{group: step} of the weights that an exchange brought."""
        return {
            key: teacher.step for key, teacher in self._here().items() if teacher.step is not None
        }

    @property
    def dropped(self) -> dict[int, int]:
        """{group: step} of the weights that an exchange brought and that are left out."""
        return {key: step for key, step in self.steps.items() if self[key].dropped}

    @property
    def usable(self) -> dict[int, int | None]:
        """{key: step} of the teachers that are not left out; None: it is fixed."""
        return {key: teacher.step for key, teacher in self._here().items() if teacher.usable}

    @property
    def hidden(self) -> dict[int, Any]:
        """{key: hidden state} of this rank's teachers."""
        return {key: teacher.state for key, teacher in self._here().items()}

    @hidden.setter
    def hidden(self, states: Mapping[int, Any]) -> None:
        for key, state in states.items():
            self[key].state = state

    def fresh(self, step: int) -> dict[int, int | None]:
        """Returns {key: step} of the usable teachers not too far behind a student's step."""
        limit, usable = self._max_staleness, self.usable
        ages = {key: step - taught for key, taught in usable.items() if taught is not None}
        late = {key for key, age in ages.items() if limit is not None and age > limit}
        for key in late - self._late:
            log.warning(
                "step %d: %s is %d steps behind, more than --max-staleness %s: left out until it "
                "catches up",
                step,
                self[key].name,
                ages[key],
                limit,
            )
        for key in self._late - late:
            log.info("step %d: %s has caught up and teaches again", step, self[key].name)
        self._late = late
        return {key: taught for key, taught in usable.items() if key not in late}

    def answers(self, question: Question, keys: Collection[int]) -> dict[int, AnyPrediction]:
        """Returns {key: predictions} of some teachers on a batch; advances their hidden states."""
        return {key: self[key].answer(question) for key in self.keys if key in keys}

    def rewind(self, keys: Collection[int]) -> None:
        """Takes back what the last batch did to the hidden states of some teachers."""
        for key in keys:
            self[key].rewind()

    def load(
        self,
        key: int,
        step: int,
        tensors: Mapping[str, Tensor],
        model: str = "",
        base: int | None = None,
    ) -> bool:
        """Puts fresher weights into a teacher that an exchange feeds; see `Teacher.load`."""
        return self[key].load(step, tensors, model, base)

    def state_dict(self) -> dict[int, dict[str, Any]]:
        """Returns {key: its state} of those that are here, on all ranks; with `hidden` all."""
        return {key: teacher.state_dict() for key, teacher in self._here().items()}

    def load_state_dict(self, state: Mapping[int, Any]) -> None:
        """Goes on from what `state_dict` returned.

        Raises:
            HvcodError: Others taught there: other groups, models or fixed teachers.
        """
        for key in state:
            if key not in self._teachers:
                who = f"of group {key}" if key >= 0 else f"beside the groups, number {-key}"
                raise HvcodError(
                    f"the state has a teacher {who}, which does not teach here: go on with the "
                    "same groups, topology and teachers"
                )
        for key, teacher in self._teachers.items():
            if key in state:
                teacher.load_state_dict(state[key])
            elif key < 0:
                raise HvcodError(
                    f"{teacher.name} did not teach when the state was saved: go on without it"
                )

    def _here(self) -> dict[int, Teacher]:
        return {key: teacher for key, teacher in self._teachers.items() if teacher.here}
