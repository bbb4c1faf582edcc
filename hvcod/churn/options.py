"""The options of ``hvcod churn compare``; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path

from hvcod.config import option


@dataclass(frozen=True)
class CompareOptions:
    """How predictions are aligned, decided and sliced."""

    threshold: float = option(
        0.5, "probability from which on the decision is yes", minimum=0, maximum=1
    )
    by_row: bool = option(False, "align by row, whatever the ids")
    common: bool = option(False, "compare the rows that all files have; else a missing row fails")
    slice_column: str | None = option(
        None,
        "column or dataset whose values divide the rows into slices; of the first file that has it",
    )
    slices: Path | None = option(
        None,
        "file with id and slice, or a folder that `hvcod data criteo` prepared: then rows are "
        "divided by how rare their categories are",
    )
    slice_edges: str | None = option(
        None, "numbers such as 10,100,1000 at which slices of numbers begin"
    )
