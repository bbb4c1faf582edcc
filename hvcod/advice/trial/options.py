"""The options of a branch test; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option


@dataclass(frozen=True)
class TrialOptions:
    """The options of ``hvcod advise RUN --trial STEPS``."""

    trial: int | None = option(
        None,
        "branch test: three runs go on from the last saved state for so many steps: one group "
        "(B), one group with twice the batch (2B), and two groups that teach each other",
        minimum=1,
    )
    trial_rate: str = option(
        "none",
        "how much higher the learning rate of 2B is: not at all, by the square root of two, or "
        "twice",
        choices=("none", "sqrt", "linear"),
    )
    output: Path | None = option(
        None,
        "folder of the branch test; the same command goes on with it; default: RUN-trial beside "
        "the run",
    )
