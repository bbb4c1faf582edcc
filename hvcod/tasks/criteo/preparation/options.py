"""The options of ``hvcod data criteo``; the only place where they are defined.

Nothing heavy is imported here: the help page reads this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option
from hvcod.values import Limit


@dataclass(frozen=True)
class PrepareOptions:
    """The options by which rows become features and are held out."""

    min_count: int = option(
        8,
        "rows of the training part in which a category must occur to get an id of its own; the "
        "others share the out-of-vocabulary id of their feature",
        minimum=1,
    )
    validation_fraction: float = option(
        0.1,
        "share of the rows that is held out for validation: those before the test part",
        minimum=0.0,
        maximum=1.0,
    )
    test_fraction: float = option(
        0.0,
        "share of the rows that is held out for testing: the last ones",
        minimum=0.0,
        maximum=1.0,
    )
    like: Path | None = option(
        None,
        "prepared folder whose categories and scales are used; all rows become the test part and "
        "need no labels, unless --divide is given",
    )
    divide: bool = option(
        False, "with --like: divide the rows into parts as without it, to train on them"
    )
    labels: str | None = option(
        None,
        "values of the label column for no click and a click, such as no,yes; by default 0,1 (also "
        "0.0,1.0), -1,1 or false,true",
    )
    decimals: bool = option(
        False, "read whole numbers with a decimal point, such as 7.0, in the integer columns"
    )
    max_malformed: Limit = option(
        Limit(1000), "malformed rows of all inputs that are skipped, a number or a share such as 1%"
    )
    max_damaged: Limit = option(
        Limit("25%"), "malformed rows of each input that are skipped, a number or a share"
    )
    piece_bytes: int = option(
        64 * 2**20, "bytes of text that a rank reads at a time and that become a shard", minimum=1
    )
