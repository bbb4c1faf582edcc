"""The options of ``hvcod evaluate`` and ``hvcod predict``; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option


@dataclass(frozen=True)
class EvaluationOptions:
    """Which weights, on which data."""

    data: Path | None = option(None, "folder that `hvcod data` prepared; default: that of the run")
    part: str = option("validation", "part of the data: training, validation, test")
    examples: int | None = option(None, "only so many examples of the part", minimum=1)
    weights: str = option(
        "auto",
        "which files of a run: the full-precision training state, what it published for teachers, "
        "or auto: the former if there is one",
        choices=("auto", "state", "published"),
    )
    step: int | None = option(None, "the weights of this step; default: the newest", minimum=0)
    config: Path | None = option(
        None, "the run's config.toml, for a file that lies outside its run"
    )
    device: str = option("auto", "where to compute", choices=("auto", "cpu", "cuda"))
