"""Mean seconds of a training step and of its parts: since the last line, and of the whole run."""

from collections.abc import Mapping
from typing import Any

from hvcod.groups.split import Group
from hvcod.spans import PARTS, Clock


class StepTimes(Clock):
    """A clock that adds up its laps.

    Attributes:
        training_s: Seconds of all steps of the run, those of former lives included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training_s = 0.0
        self._line, self._run = _Sums(), _Sums()

    def step(self) -> None:
        """Ends a step, which began when the last one ended."""
        seconds = self.lap()
        self.training_s += sum(seconds)
        self._line.add(seconds)
        self._run.add(seconds)

    def take(self, group: Group) -> dict[str, float]:
        """Returns mean seconds a step since the last call: ``step_s``, and each part's.

        Means over the ranks as well; what the group root gets counts. Collective where
        `Group.total` is.
        """
        sums, self._line = self._line, _Sums()
        totals = group.total("times", {**sums.seconds, "steps": float(sums.steps)})
        steps = totals.pop("steps")
        parts = {f"{name}_s": seconds / steps for name, seconds in totals.items()}
        return {"step_s": sum(parts.values()), **parts}

    def summary(self) -> dict[str, float]:
        """Returns {part: mean seconds a step} of the run on this rank, as far as it is known."""
        steps = max(1, self._run.steps)
        return {name: seconds / steps for name, seconds in self._run.seconds.items()}

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums of the run."""
        return {"steps": self._run.steps, "seconds": self._run.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned; nothing, if an earlier version saved it."""
        if state:
            self._run = _Sums(state["steps"], state["seconds"])


class _Sums:
    """Seconds of the parts, over a number of steps."""

    def __init__(self, steps: int = 0, seconds: Mapping[str, float] | None = None) -> None:
        self.steps = steps
        self._seconds = [(seconds or {}).get(name, 0.0) for name in PARTS]

    @property
    def seconds(self) -> dict[str, float]:
        return dict(zip(PARTS, self._seconds, strict=True))

    def add(self, seconds: list[float]) -> None:
        self.steps += 1
        for index, value in enumerate(seconds):
            self._seconds[index] += value
