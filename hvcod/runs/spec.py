"""The description of one training run."""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import TrainOptions


@dataclass(frozen=True)
class RunSpec:
    """One training run among several.

    Attributes:
        name: Its name in tables and messages.
        options: Its options, the run directory among them.
        group: The group whose model stands for the run; None for the mean of all groups.
    """

    name: str
    options: TrainOptions
    group: int | None = 0

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        assert self.options.run_dir is not None, f"{self.name} has no run directory"
        return self.options.run_dir
