"""The scale of the loss, which keeps small gradients from vanishing in half precision."""

import math
from collections.abc import Mapping
from typing import Any

FIRST, LEAST = 2**16, 1

PATIENCE = 2000
"""Steps in a row without an overflow after which the scale grows."""


class LossScale:
    """A power of two that multiplies the loss; gradients are divided by it before they are used.

    It halves when a gradient overflows, in a step that is then left out, and doubles after
    `PATIENCE` steps without (dynamic loss scaling: Micikevicius et al., arXiv 1710.03740, section
    3.2). The ranks of a group that average gradients have the same scale, as an overflow of one of
    them reaches all with the mean; ranks that train by themselves have scales of their own.

    Attributes:
        value: The scale.
        overflows: Steps that were left out.
    """

    def __init__(self) -> None:
        self.value, self.overflows, self._calm = FIRST, 0, 0

    def settle(self, norm: float) -> bool:
        """Takes note of the norm of a step's gradient.

        Returns:
            Whether the scale is to blame if the norm is NaN or infinite: a smaller one may help.
        """
        if math.isfinite(norm):
            self._calm += 1
            if self._calm == PATIENCE:
                self.value, self._calm = 2 * self.value, 0
            return True
        if self.value <= LEAST:
            return False
        self.value, self._calm = self.value // 2, 0
        self.overflows += 1
        return True

    def state_dict(self) -> dict[str, Any]:
        """Returns the scale and its counters."""
        return {"value": self.value, "overflows": self.overflows, "calm": self._calm}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self.value, self.overflows = state["value"], state["overflows"]
        self._calm = state["calm"]
