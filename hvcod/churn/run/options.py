"""The options of ``hvcod churn run`` beside those of training; the only place of their definition.

Nothing heavy is imported here: the help pages read this file.
"""

from dataclasses import dataclass

from hvcod.config import option


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
