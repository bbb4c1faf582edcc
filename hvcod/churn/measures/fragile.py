"""The rows that retrains decide differently most often."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.churn.measures.comparison import decisions

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FragileRow:
    """A row and the predictions of the retrains of one method for it.

    Attributes:
        id: Its id as text; the number of the row if the files have no ids.
        label: The right class; None if unknown.
        slice: The name of its slice; None without slices.
        flips: The share of the pairs of retrains that decide it differently (`disagreement`).
        of_class: The class that `mean`, `lowest` and `highest` are the probability of: the one that
            most retrains choose (of several, the smallest). None for a single number per row.
        mean: The mean of the predictions.
        lowest: The lowest of them.
        highest: The highest of them.
    """

    id: str
    label: int | None
    slice: str | None
    flips: float
    of_class: int | None
    mean: float
    lowest: float
    highest: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the row as plain values."""
        return asdict(self)


class Fragile:
    """Collects the rows that flip in most pairs of retrains, of each method.

    Of rows that flip as often those come first whose predictions have the largest range, then those
    that were read first. In memory are the collected rows and one block.

    Args:
        methods: {method: how many retrains it has}, in the order of the predictions in `add`.
        threshold: The probability from which the decision is yes.
        most: The largest number of rows of a method.
    """

    def __init__(self, methods: Mapping[str, int], threshold: float, most: int) -> None:
        self._threshold, self._most = threshold, most
        self._numbers: dict[str, range] = {}
        first = 0
        for method, count in methods.items():
            self._numbers[method] = range(first, first + count)
            first += count
        self._rows: dict[str, list[tuple[FragileRow, int]]] = {method: [] for method in methods}

    def add(
        self, ids: Array, predictions: Sequence[Array], labels: Array, slices: Array | None
    ) -> None:
        """Adds some rows; see `hvcod.churn.together.Measures`, and their ids, numbers or text."""
        for method, numbers in self._numbers.items():
            if len(numbers) > 1:
                mine = [predictions[number] for number in numbers]
                self._add(self._rows[method], ids, mine, labels, slices)

    def _add(
        self,
        kept: list[tuple[FragileRow, int]],
        ids: Array,
        predictions: Sequence[Array],
        labels: Array,
        slices: Array | None,
    ) -> None:
        flips, chosen = _flips([decisions(each, self._threshold) for each in predictions])
        if single := predictions[0].ndim == 1:
            values = np.stack(predictions).astype(np.float64)
        else:
            at = chosen[:, None]
            values = np.stack([np.take_along_axis(each, at, 1)[:, 0] for each in predictions])
        lowest, highest = values.min(axis=0), values.max(axis=0)
        order = np.lexsort((np.arange(len(flips)), lowest - highest, -flips))[: self._most]
        for row in order[flips[order] > 0].tolist():
            fragile = FragileRow(
                id=_text(ids[row]),
                label=int(labels[row]) if labels[row] >= 0 else None,
                slice=None,
                flips=float(flips[row]),
                of_class=None if single else int(chosen[row]),
                mean=float(values[:, row].mean()),
                lowest=float(lowest[row]),
                highest=float(highest[row]),
            )
            kept.append((fragile, -1 if slices is None else int(slices[row])))
        # Sorting is stable: of equal ones those read first stay in front.
        kept.sort(key=lambda one: (-one[0].flips, one[0].lowest - one[0].highest))
        del kept[self._most :]

    def rows(self, slices: Mapping[str, int]) -> dict[str, list[FragileRow]]:
        """Returns {method: its rows, those that flip most often first}, given {name: number}."""
        names = {number: name for name, number in slices.items()}
        return {
            method: [
                FragileRow(**{**asdict(row), "slice": names.get(number)}) for row, number in kept
            ]
            for method, kept in self._rows.items()
        }


def _flips(decided: Sequence[Array]) -> tuple[Array, Array]:
    """Returns the share of pairs of models that decide each row differently, and the usual class.

    Args:
        decided: The class of each row by each model, [N] each.
    """
    every = np.stack(decided)
    alike = np.stack([(every == each).sum(axis=0) for each in every])
    models = len(every)
    flips = (models**2 - alike.sum(axis=0)) / (models * (models - 1))
    most = alike == alike.max(axis=0)
    return flips, np.where(most, every, np.iinfo(every.dtype).max).min(axis=0)


def _text(identifier: Any) -> str:
    if isinstance(identifier, bytes):
        return identifier.decode(errors="backslashreplace")
    return str(identifier)
