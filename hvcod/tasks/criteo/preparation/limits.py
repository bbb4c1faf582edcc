"""Limits on what may be lost of the inputs, and the errors beyond them: each with counts."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.row_formats import CLICK, NO_CLICK, USUAL_LABELS
from hvcod.tasks.preparing.pipeline import Report
from hvcod.tasks.preparing.summary import total
from hvcod.values import Limit

_LONGEST_LABEL = 8
_STEPS = {
    "integer": "--decimals reads whole numbers such as 7.0; a missing value is an empty field",
    "label": "--labels NO,YES says how labels are written",
    "number of columns": "check that all rows have the columns of the first ones",
}
"""What helps against a kind of damage."""


def label_values(text: str | None) -> dict[str, int]:
    """Returns the labels for each way to write them, from ``--labels``.

    Raises:
        UsageError: The option does not name two labels.
    """
    if text is None:
        return USUAL_LABELS
    values = [value.strip() for value in text.split(",")]
    if len(set(values)) != 2 or not all(0 < len(v.encode()) <= _LONGEST_LABEL for v in values):
        raise UsageError(
            f"--labels {text}: give the values for no click and a click, such as -1,1 or no,yes "
            f"(at most {_LONGEST_LABEL} characters each)"
        )
    return {values[0]: NO_CLICK, values[1]: CLICK}


def check(inputs: Sequence[Report], options: PrepareOptions) -> None:
    """Checks what was lost of the inputs, and what their labels mean.

    Raises:
        HvcodError: Too many rows are malformed, or labels have two meanings or only one side.
    """
    kinds = Counter(total(one["malformed"] for one in inputs))
    lines, rows = (sum(one[name] for one in inputs) for name in ("lines", "rows"))
    if not rows:
        return  # which has an error of its own
    _check_labels(inputs, kinds)
    if options.max_malformed.is_exceeded(kinds.total(), lines):
        raise too_many(_first_example(inputs), options.max_malformed, kinds)
    for one in inputs:
        bad = one["malformed"].total()
        if options.max_damaged.is_exceeded(bad, one["lines"]):
            raise HvcodError(
                f"{one['name']}: {bad} of {one['lines']} lines are malformed{_counted(one)}, more "
                f"than --max-damaged {options.max_damaged} allows: {_first_example([one])}"
                f"{_steps(one['malformed'])}"
            )


def _check_labels(inputs: Sequence[Report], kinds: Counter[str]) -> None:
    labels = Counter(total(one["labels"] for one in inputs))
    minus = {text: count for text, count in labels.items() if text in ("-1", "-1.0")}
    others = {t: n for t, n in labels.items() if USUAL_LABELS.get(t) == NO_CLICK and t not in minus}
    if minus and others:
        raise HvcodError(
            f"the label column has {_pairs(minus)} and {_pairs(others)}: -1 could mean no click or "
            "not known; --labels 0,1 leaves the rows with -1 out, --labels -1,1 those with 0 (see "
            "--max-damaged)"
        )
    if kinds["label"] and len({USUAL_LABELS.get(text, text) for text in labels}) == 1:
        raise HvcodError(
            f"all {labels.total()} labels that can be read are {' or '.join(sorted(labels))}, and "
            f"{kinds['label']} rows "
            f"would be left out for their labels: {_first_example(inputs)}; {_STEPS['label']}"
        )


def too_many(example: str, limit: Limit | int, kinds: Mapping[str, int]) -> HvcodError:
    """Returns the error for more malformed rows than allowed in all inputs."""
    return HvcodError(
        f"more than {limit} malformed rows: {example}; correct the input, or allow more with "
        f"--max-malformed{_steps(kinds)}"
    )


def too_few(rows: int, inputs: Sequence[Report]) -> str:
    """Says why there are too few rows, with counts and what to do, in one line."""
    whole = {"malformed": Counter(total(one["malformed"] for one in inputs))}
    lines = sum(one["lines"] for one in inputs)
    told = f"{rows} rows in all: training and validation need at least one each; {lines} lines read"
    if not whole["malformed"]:
        return told
    bad = f"{whole['malformed'].total()} malformed{_counted(whole)}"
    return f"{told}, {bad}: {_first_example(inputs)}{_steps(whole['malformed'])}"


def _counted(one: Report) -> str:
    return f" ({_pairs(one['malformed'])})"


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _first_example(inputs: Sequence[Report]) -> str:
    examples: Iterator[str] = (example for one in inputs for example in one["examples"])
    return next(examples)


def _steps(kinds: Mapping[str, int]) -> str:
    return "".join(f"; {step}" for kind, step in _STEPS.items() if kinds.get(kind))
