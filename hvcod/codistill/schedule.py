"""The weight of the distillation term over a run: off, up, stable, down."""

from dataclasses import dataclass

from hvcod.config import CodistillOptions
from hvcod.errors import UsageError


@dataclass(frozen=True)
class Schedule:
    """The weight at each step.

    It is zero in the burn-in, grows linearly over `distill_ramp` steps to `distill_weight`, stays
    there, and falls linearly to zero, which it reaches at the last step, over the last share
    `distill_decay` of the run. Where rise and fall overlap, the smaller weight counts.

    Raises:
        UsageError: There is a fall, but the steps of the run are unknown.
    """

    options: CodistillOptions
    steps: int | None

    def __post_init__(self) -> None:
        if self.options.distill_decay and self.steps is None:
            raise UsageError(
                f"distill_decay={self.options.distill_decay:g} is a share of the run's steps: tell "
                "the Codistiller how many they are with steps="
            )

    def is_on(self, step: int) -> bool:
        """Returns whether the burn-in is over at a step, counted from 1."""
        return step > self.options.burn_in

    def weight(self, step: int) -> float:
        """Returns the weight of the distillation term at a step, counted from 1."""
        if not self.is_on(step):
            return 0.0
        return self.options.distill_weight * min(1.0, self._rise(step), self._fall(step))

    def _rise(self, step: int) -> float:
        ramp = self.options.distill_ramp
        return (step - self.options.burn_in) / ramp if ramp else 1.0

    def _fall(self, step: int) -> float:
        if not self.options.distill_decay or self.steps is None:
            return 1.0
        return max(0, self.steps - step) / (self.options.distill_decay * self.steps)
