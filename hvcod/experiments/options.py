"""The options of ``hvcod experiment``; the only place where they are defined.

Nothing heavy is imported here: the help page reads this file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hvcod.config import option
from hvcod.experiments.base import SCALES
from hvcod.sections import Section
from hvcod.values import Duration


@dataclass(frozen=True)
class ExperimentOptions:
    """The size of an experiment, its data, and the place of its runs."""

    SECTION: ClassVar[Section] = Section.EXPERIMENT

    scale: str = option(
        "laptop",
        "size of models and data: laptop, minutes a run on a core; gpu, minutes a run on a GPU; "
        "paper, the paper's, on many nodes",
        choices=SCALES,
    )
    seeds: int = option(3, "train every arm with the seeds 1 to N", minimum=1)
    data: Path | None = option(
        None, "folder that `hvcod data` prepared; without it the task's built-in data"
    )
    output: Path = option(
        Path("experiments"),
        "folder of all experiments: they share its runs, and each has a folder for its page",
    )
    ranks_per_group: int | None = option(
        None,
        "ranks that share the batch of one group, of larger batches in proportion; default: one "
        "process trains all groups of a run, at --scale paper as many as in the paper",
        minimum=1,
    )
    time_limit: Duration | None = option(
        None, "save and exit with 75 within this time, such as 3h55m", minimum=1
    )
