"""The options of ``hvcod advise`` without a branch test; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option

MOST_READINGS = 256


@dataclass(frozen=True)
class AdviceOptions:
    """The state of a run that is looked at, and how long."""

    group: int = option(0, "group whose gradients are measured", minimum=0)
    step: int | None = option(
        None, "look at the training states of this step; default: the newest", minimum=0
    )
    data: Path | None = option(None, "folder that `hvcod data` prepared; default: the run's data")
    readings: int = option(
        MOST_READINGS,
        "largest number of readings of the gradient noise scale; fewer are taken once its range is "
        "a factor of two",
        minimum=2,
    )
    examples: int = option(
        4096, "largest number of validation examples to compare the groups on", minimum=1
    )
    doctor: Path | None = option(
        None,
        "output of `hvcod doctor --json`, for the speed of the network and the file system; "
        "without it messages count as in the run",
    )
    device: str = option("auto", "device to compute on", choices=("auto", "cpu", "cuda"))
