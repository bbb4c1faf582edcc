"""The best validated state of a group (``--keep-best``)."""

import math
from collections.abc import Mapping
from typing import Any

from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.tasks.base import Task
from hvcod.training.validation import metrics_of

_AVERAGE = "average_"
"""Begins the names of the metrics of the average, see ``--validate-average``."""


class Best:
    """Remembers at which step a validation metric was best.

    Attributes:
        metric: Its name.
        step: The step; 0 before the first validation.
        value: The metric then; NaN before.
    """

    def __init__(self, metric: str, higher_is_better: bool) -> None:
        self.metric, self._higher = metric, higher_is_better
        self.step, self.value = 0, math.nan

    def improved(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Returns whether a validation gave the best value so far, which is then remembered."""
        value = metrics.get(self.metric, math.nan)
        sign = -1 if self._higher else 1
        better = not math.isnan(value) and not sign * value >= sign * self.value
        if better:
            self.step, self.value = step, value
        return better

    def state_dict(self) -> dict[str, Any]:
        """Returns what the best so far was."""
        return {"metric": self.metric, "step": self.step, "value": self.value}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Goes on from what `state_dict` returned, unless another metric counts now."""
        if state["metric"] == self.metric:
            self.step, self.value = state["step"], state["value"]


def best_of(task: Task) -> Best | None:
    """Returns what remembers the best state of a training; None if none is to be kept.

    Raises:
        UsageError: The task does not measure the metric, or does not say which way it is better.
    """
    options: TrainOptions = task.options
    name = options.keep_best
    if name is None:
        return None
    metrics = metrics_of(task)
    known = [*metrics, *(_AVERAGE + each for each in metrics if options.validate_average)]
    if name not in known:
        raise UsageError(f"--keep-best {name}: the validation measures {', '.join(known)}")
    higher = getattr(metrics[name.removeprefix(_AVERAGE)], "higher_is_better", None)
    if higher is None:
        raise UsageError(
            f"--keep-best {name}: the task does not say which way this metric is better; give its "
            "class an attribute higher_is_better"
        )
    return Best(name, bool(higher))
