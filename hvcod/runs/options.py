"""The options of a crew; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from hvcod.config import option
from hvcod.sections import Section


class Share(str):
    """One job's share of the runs, such as ``3/24``: the third of 24 shares."""

    EXPECTED: ClassVar[str] = "a share such as 3/24, from 1/24 to 24/24"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError for text that is not a share."""
        made = super().__new__(cls, text)
        if not 1 <= made.number <= made.shares:
            raise ValueError(text)
        return made

    @property
    def number(self) -> int:
        """The number of this share, from 1."""
        return int(self.partition("/")[0])

    @property
    def shares(self) -> int:
        """The number of shares in all."""
        return int(self.partition("/")[2])


@dataclass(frozen=True)
class CrewOptions:
    """The options of a command that trains several runs."""

    SECTION: ClassVar[Section] = Section.CREW

    ranks_per_group: int = option(
        1, "ranks in each group of a run, those of --teacher-ranks included", minimum=1
    )
    at_once: int = option(
        1,
        "runs to train at the same time without a launcher; under mpirun or srun as many train at "
        "the same time as there are ranks for",
        minimum=1,
    )
    share: Share | None = option(
        None,
        "train only share I of N of the runs, such as 3/24, in a job of its own; the same command "
        "without --share trains what is missing and reports",
    )
