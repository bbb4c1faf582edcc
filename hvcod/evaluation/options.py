"""The options of ``hvcod evaluate`` and ``hvcod predict``; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option


@dataclass(frozen=True)
class EvaluationOptions:
    """The weights to load, and the data to use them on."""

    data: Path | None = option(None, "folder that `hvcod data` prepared; default: the run's data")
    part: str = option("validation", "part of the data: training, validation, test")
    examples: int | None = option(None, "use only this many examples of the part", minimum=1)
    weights: str = option(
        "auto",
        "which weights of a run: those of its full-precision training state, those that it "
        "published for teachers, or auto: the former if there are any",
        choices=("auto", "state", "published"),
    )
    step: int | None = option(None, "use the weights of this step; default: the newest", minimum=0)
    task: str | None = option(
        None,
        "the run's task again, if its module is not installed: it is then imported from the "
        "current folder",
    )
    config: Path | None = option(
        None, "the run's config.toml, for a file that is not in its run directory"
    )
    device: str = option("auto", "device to compute on", choices=("auto", "cpu", "cuda"))
