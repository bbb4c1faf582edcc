"""The options of ``hvcod churn``; the only place where they are defined.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hvcod.config import option
from hvcod.sections import Section


@dataclass(frozen=True)
class CompareOptions:
    """The alignment, decisions and slices of a comparison."""

    SECTION: ClassVar[Section] = Section.COMPARISON

    threshold: float = option(
        0.5, "probability from which the decision is yes", minimum=0, maximum=1
    )
    id_column: str | None = option(
        None,
        "column (in HDF5: dataset) of the ids; if files differ, names such as 'user_id|uid': the "
        "first that a file has; default: id",
    )
    ids: str | None = option(
        None,
        "compare ids as text, or as numbers, so that 7, 007 and 7.0 are equal; default: text, "
        "unless all files store integers",
        choices=("text", "number"),
    )
    by_row: bool = option(False, "align rows by their number and ignore ids")
    prediction_column: str | None = option(
        None,
        "column of the predictions, or those of the classes in their order: p0,p1,p2 or 'p*'; "
        "if files differ, 'p|score'; default: prediction, or prediction_0, prediction_1 and so on",
    )
    scale: str = option(
        "probability",
        "what the predictions are; log: natural logarithms of probabilities",
        choices=("probability", "percent", "logit", "log"),
    )
    labels: bool = option(True, "read labels; without them only predictions are compared")
    classes: str | None = option(
        None, "labels of class 0, 1, ..., such as no,yes or -1,1; default: labels are numbers"
    )
    common: bool = option(
        False, "compare the rows that all files have; without it a missing row is an error"
    )
    slice_column: str | None = option(
        None,
        "column or dataset that divides the rows into slices, read from the first file that has it",
    )
    slices: Path | None = option(
        None,
        "file with id and slice, or a folder that `hvcod data criteo` prepared: its rows are "
        "divided by how rare their categories are",
    )
    slice_edges: str | None = option(
        None, "numbers such as 10,100,1000 at which slices of numbers begin"
    )
    fragile: int | None = option(
        None,
        "also list so many rows of each method: those that its retrains decide differently most "
        "often",
        minimum=1,
    )


@dataclass(frozen=True)
class GateOptions:
    """The limits of a gate, and how they are judged."""

    SECTION: ClassVar[Section] = Section.GATE

    max_churn: float | None = option(
        None, "largest mean absolute difference from the model in production", minimum=0, maximum=1
    )
    max_flips: float | None = option(
        None, "largest share of rows that are decided differently", minimum=0, maximum=1
    )
    min_gain: float | None = option(
        None,
        "smallest log loss of production minus that of the candidate, in nats; -0.001: it may be "
        "worse by 0.001",
    )
    slice_max_churn: float | None = option(
        None, "largest churn of each slice", minimum=0, maximum=1
    )
    slice_max_flips: float | None = option(
        None, "largest share of flips of each slice", minimum=0, maximum=1
    )
    slice_min_gain: float | None = option(None, "smallest gain of each slice")
    slice_min_rows: int = option(
        1, "slices of fewer rows (for the gain: with labels) are shown, not judged", minimum=1
    )
    judge: str = option(
        "interval",
        "interval: a limit is kept only if the whole interval over the rows keeps it, so that too "
        "few rows refuse; estimate: the estimate alone counts",
        choices=("interval", "estimate"),
    )
    confidence: float = option(
        0.95, "confidence of the two-sided intervals", minimum=0.5, maximum=0.9999
    )
    best_by: str = option(
        "churn",
        "the best of the candidates that pass: of the smallest churn, the fewest flips or the "
        "largest gain",
        choices=("churn", "flips", "gain"),
    )


@dataclass(frozen=True)
class StudyOptions:
    """The retrains of a study, and the examples that they predict."""

    SECTION: ClassVar[Section] = Section.STUDY

    methods: str = option(
        "dnn,ensemble,codistill",
        "methods to compare, the baseline first: dnn; ensemble or ensemble-4 (copies); bagging "
        "(copies, each on its bootstrap of the data); codistill or codistill-4 (groups); "
        "twin-bootstrap (groups, each on its bootstrap of the data); distill (one copy that "
        "--teacher teaches); anchored or anchored-codistill (taught by the model of --production); "
        "and to find where churn comes from: same (all equal), same-init (the same "
        "initialisation), same-order; with --data-sample also same-data, only-init, only-order and "
        "only-data; codistill:same-init is that of another method",
    )
    repeats: int = option(
        5, "retrains of each method; statistics of independent pairs use an even number", minimum=1
    )
    part: str = option("validation", "part of the data that all retrains predict")
    examples: int | None = option(None, "use only this many examples of that part", minimum=1)
    data_sample: str = option(
        "none",
        "the data of each retrain: all of the training part (none), a bootstrap of it, or a window "
        "of days that moves on by a day from one retrain to the next",
        choices=("none", "bootstrap", "days"),
    )
    days: int | None = option(
        None,
        "with --data-sample days: take so many equal shares of the training part, in its order, as "
        "days; default: its input files, if the data know of several, else 30",
        minimum=2,
    )
    window_days: int | None = option(None, "days of a window; default: half of all days", minimum=1)
    production: Path | None = option(
        None,
        "the model in production, with which all retrains are compared, and which teaches those "
        "of anchored and anchored-codistill: a run, training state, published checkpoint or file "
        "of `hvcod export`",
    )
