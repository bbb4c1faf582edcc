"""Counts, duplicates and tables for the reports of all preparations."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.terminal import one_line

_SHOWN = 5


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Returns the sums of counts by name, sorted by name."""
    sums: Counter[str] = Counter()
    for some in counts:
        sums.update(some)
    return dict(sorted(sums.items()))


def text_table(rows: Sequence[tuple[str, int]], remarks: Iterable[str]) -> str:
    """Returns names and numbers in two columns, and remarks below them."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(
        [*(f"{name:{width}} {count:>15,}" for name, count in rows), *map(one_line, remarks)]
    )


def left_alone(report: Mapping[str, Any]) -> tuple[list[tuple[str, int]], list[str]]:
    """Returns rows and remarks of a table about inputs that were not read."""
    if not report.get("left_alone"):
        return [], []
    names = [repr(name)[1:-1] for name in report["left_alone_examples"][:_SHOWN]]
    return [("files and folders left alone", report["left_alone"])], [
        f"left alone: {', '.join(names)}"
    ]


def first_of_equal(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tells which values are not equal to an earlier one."""
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
