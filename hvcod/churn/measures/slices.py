"""Numbers for the slices of rows, which are named by text or by ranges of numbers."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hvcod.errors import HvcodError, UsageError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

MOST_SLICES = 1000
NO_SLICE = "(none)"


class Slices:
    """Numbers every slice when it first appears.

    Args:
        edges: Numbers at which slices begin; None if values are the names of slices.
    """

    def __init__(self, edges: Sequence[float] | None) -> None:
        self._edges = None if edges is None else np.array(edges, dtype=np.float64)
        self._numbers: dict[str, int] = {}
        self.declare([] if edges is None else _between(edges))

    def declare(self, names: Sequence[str]) -> None:
        """Numbers slices beforehand, in the order in which they are shown."""
        for name in names:
            self._numbers.setdefault(name, len(self._numbers))
        self._declared = len(self._numbers)

    def numbers(self, values: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
        """Returns the number of each value's slice, [N].

        Raises:
            HvcodError: There are too many slices, or a value is not a number but there are edges.
        """
        distinct, indices = np.unique(values, return_inverse=True)
        names = [self._name(value) for value in distinct.tolist()]
        for name in names:
            self._numbers.setdefault(name, len(self._numbers))
        if len(self._numbers) > MOST_SLICES:
            raise HvcodError(
                f"there are more than {MOST_SLICES} slices; divide numbers with --slice-edges, "
                "such as --slice-edges 10,100,1000"
            )
        return np.array([self._numbers[name] for name in names])[indices]

    def _name(self, value: bytes) -> str:
        text = value.decode(errors="replace")
        if not text or self._edges is None:
            return text or NO_SLICE
        try:
            index = int(np.searchsorted(self._edges, float(text), side="right"))
        except ValueError as error:
            raise HvcodError(
                f"slice {text!r} is not a number; --slice-edges divides numbers"
            ) from error
        return _between(self._edges.tolist())[index]

    @property
    def shown(self) -> dict[str, int]:
        """{name: its number} in the order in which slices are shown.

        Declared slices come first, in their order; then numbers by size, then text.
        """
        later = list(self._numbers)[self._declared :]
        names = [*list(self._numbers)[: self._declared], *sorted(later, key=_by_size)]
        return {name: self._numbers[name] for name in names}


class BySlice:
    """Sums of some values of the rows, by slice.

    Args:
        values: The number of values of a row.
    """

    def __init__(self, values: int) -> None:
        self._sums = np.zeros((1, values))

    def add(
        self, slices: npt.NDArray[Any] | None, values: Sequence[npt.NDArray[Any] | None]
    ) -> None:
        """Adds some rows.

        Args:
            slices: The number of each row's slice, [N]; None if there is one slice, number 0.
            values: Of each row, [N] each; None for a value that is 1 in each row, of which there
                may be no more than all but one.
        """
        if slices is None:
            count = next(len(value) for value in values if value is not None)
            ones = (count if value is None else value.sum(dtype=np.float64) for value in values)
            self._sums[0] += [*ones]
            return
        count = max(len(self._sums), int(slices.max(initial=0)) + 1)
        grown = np.zeros((count, len(values)))
        grown[: len(self._sums)] = self._sums
        for column, value in enumerate(values):
            grown[:, column] += np.bincount(slices, value, count)
        self._sums = grown

    def of(self, number: int) -> Floats:
        """Returns the sums of a slice, [values]."""
        return self._sums[number] if number < len(self._sums) else np.zeros(self._sums.shape[1])

    def total(self) -> Floats:
        """Returns the sums of all rows, [values]."""
        return np.asarray(self._sums.sum(axis=0))


def _by_size(name: str) -> tuple[bool, float, str]:
    try:
        return False, float(name), name
    except ValueError:
        return name == NO_SLICE, math.inf, name


def parse_edges(text: str | None) -> list[float] | None:
    """Returns the numbers in text such as ``10,100,1000``.

    Raises:
        UsageError: They are not ascending numbers.
    """
    if text is None:
        return None
    try:
        edges = [float(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--slice-edges {text}: give numbers such as 10,100,1000") from error
    if edges != sorted(set(edges)):
        raise UsageError(f"--slice-edges {text}: the numbers must be ascending")
    return edges


def _between(edges: Sequence[float]) -> list[str]:
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"under {edges[0]:g}", *inner, f"{edges[-1]:g} and more"]
