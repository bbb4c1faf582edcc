"""The options of ``hvcod churn``; the only place where they are defined.

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


@dataclass(frozen=True)
class StudyOptions:
    """Which retrains are compared, and on which examples."""

    methods: str = option(
        "dnn,ensemble,codistill",
        "methods to compare, the baseline first: dnn; ensemble or ensemble-4 (copies); codistill "
        "or codistill-4 (groups); and to find where churn comes from: same (all equal), same-init "
        "(other order), same-order (other initialisation)",
    )
    repeats: int = option(
        5, "retrains of each method; statistics of independent pairs use an even number", minimum=1
    )
    part: str = option("validation", "part of the data that all retrains predict")
    examples: int | None = option(None, "only so many examples of that part", minimum=1)
