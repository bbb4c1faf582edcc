"""The options of ``hvcod churn run`` beside those of training; the only place of their definition.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from hvcod.config import option


class Share(str):
    """Which part of the retrains, such as ``3/24``: the third of 24 shares."""

    EXPECTED: ClassVar[str] = "a share such as 3/24, from 1/24 to 24/24"

    def __new__(cls, text: str) -> Self:
        """Raises ValueError for text that is no share."""
        made = super().__new__(cls, text)
        if not 1 <= made.number <= made.shares:
            raise ValueError(text)
        return made

    @property
    def number(self) -> int:
        """Which share, from 1."""
        return int(self.partition("/")[0])

    @property
    def shares(self) -> int:
        """Shares in all."""
        return int(self.partition("/")[2])


@dataclass(frozen=True)
class StudyOptions:
    """Which retrains are trained and compared, and by whom."""

    methods: str = option(
        "dnn,ensemble,codistill",
        "what is compared, the baseline first: dnn; ensemble or ensemble-4 (copies); codistill or "
        "codistill-4 (groups); and where churn comes from: same (all equal), same-init (other "
        "order), same-order (other initialisation)",
    )
    repeats: int = option(5, "retrains of each method; statistics pair them by twos", minimum=1)
    ranks_per_group: int = option(1, "ranks of each group of a retrain", minimum=1)
    at_once: int = option(
        1,
        "retrains at the same time, where no launcher has started ranks; else as many as they can",
        minimum=1,
    )
    share: Share | None = option(
        None,
        "train only share I of N of the retrains, such as 3/24, in a job of its own; the command "
        "without it trains what is missing and compares",
    )
    part: str = option("validation", "part of the data that all retrains predict")
    examples: int | None = option(None, "only so many examples of that part", minimum=1)
