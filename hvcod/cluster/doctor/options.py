"""The options of ``hvcod doctor``. Nothing heavy is imported here: the help page needs it."""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option
from hvcod.values import Duration


@dataclass(frozen=True)
class DoctorOptions:
    """The launch to examine, and the size of the measurements."""

    run_dir: Path = option(
        Path("runs"), "run directory of the training, or the folder that it will be made in"
    )
    groups: int = option(1, "groups that the ranks are to form", minimum=1)
    group: int | None = option(
        None, "this launch is group I of --groups; the others are other launches", minimum=0
    )
    megabytes: int = option(
        32, "size of the messages and checkpoints that are measured, in MB", minimum=1
    )
    patience: Duration = option(
        Duration(120), "longest wait for one check, such as 30s or 5m", minimum=1
    )

    @property
    def bytes(self) -> int:
        """Size of the messages and checkpoints that are measured."""
        return self.megabytes * 1_000_000
