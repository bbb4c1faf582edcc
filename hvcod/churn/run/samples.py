"""The samples of the training data from which the retrains of a study learn.

Retrains differ because of their seeds, and, as users see them, because there are new data. A study
on one set of data can imitate these in two ways: each retrain learns from a bootstrap of the
training part, or from a window of days that moves on by a day from one retrain to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hvcod.churn.options import StudyOptions
from hvcod.config import TrainOptions
from hvcod.errors import UsageError
from hvcod.tasks import load_task
from hvcod.values import Window

EQUAL_DAYS = 30
"""Days into which the training part is divided if neither the data nor the user know better."""


@dataclass(frozen=True)
class Samples:
    """The sample of each retrain.

    Attributes:
        kind: See ``--data-sample``.
        windows: For ``days``: the windows of the retrains with the numbers 1, 2, ...
        note: A sentence for the user about these samples; empty for ``none``.
    """

    kind: str = "none"
    windows: Sequence[Window] = ()
    note: str = ""

    def options(self, number: int, seed: int) -> dict[str, Any]:
        """Returns the options of training that give a retrain its sample.

        Args:
            number: The number of the sample, from 1; 0 for one that all retrains share.
            seed: The seed of a bootstrap.
        """
        if self.kind == "bootstrap":
            return {"training_bootstrap": seed}
        if self.kind == "days":
            return {"training_window": self.windows[max(1, number) - 1]}
        return {}


def samples_of(study: StudyOptions, train: TrainOptions) -> Samples:
    """Returns the samples of a study.

    Raises:
        UsageError: Options contradict each other, or there are too few days for the retrains.
        HvcodError: The data cannot be read.
    """
    if study.data_sample != "days":
        if study.days is not None or study.window_days is not None:
            name = "--days" if study.days is not None else "--window-days"
            raise UsageError(f"{name} goes with --data-sample days")
        if study.data_sample == "none":
            return Samples()
        if train.training_bootstrap is not None:
            raise UsageError(
                "--training-bootstrap is one sample for all retrains, and --data-sample bootstrap "
                "gives each one of its own: leave one of the two out"
            )
        note = "Each retrain learns from its own bootstrap of the training data."
        return Samples("bootstrap", note=note)
    if train.training_window is not None:
        raise UsageError(
            "--training-window is one window for all retrains, and --data-sample days gives each "
            "one of its own: leave one of the two out"
        )
    return _windows(study, train)


def _windows(study: StudyOptions, train: TrainOptions) -> Samples:
    edges, day = _days(study, train)
    days = len(edges) - 1
    width = max(1, days // 2) if study.window_days is None else study.window_days
    if (needed := width + study.repeats - 1) > days:
        raise UsageError(
            f"--data-sample days: {study.repeats} windows of {width} days, each a day later than "
            f"the one before, need {needed} days, and the training part has {days} ({day}): use "
            "fewer --repeats, a smaller --window-days, or a larger --days"
        )
    windows = [
        Window(f"{edges[first]:.15g}:{edges[first + width]:.15g}") for first in range(study.repeats)
    ]
    note = (
        f"Each retrain learns from {width} of the {days} days of the training part, the first "
        f"from days 1 to {width} and each further one from a window a day later; {day}. "
        "Independent pairs are one day apart."
    )
    return Samples("days", windows, note)


def _days(study: StudyOptions, train: TrainOptions) -> tuple[list[float], str]:
    """Returns the shares of the training part before each day and at its end, and what a day is."""
    known = None
    if study.days is None and train.data is not None:
        known = load_task(train.task).days(train.data)
    if known and len(known) > 1:
        ends = [sum(known[:count]) for count in range(len(known) + 1)]
        return [end / ends[-1] for end in ends], "a day is an input file of the data"
    days = study.days or EQUAL_DAYS
    share = f"a day is 1/{days} of the training part, in the order of the data"
    return [number / days for number in range(days + 1)], share
