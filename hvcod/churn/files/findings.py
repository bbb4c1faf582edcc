"""Problems of predictions: collected over a whole pass, then reported together with counts."""

from collections.abc import Sequence

import numpy as np

from hvcod.churn.files.rows import Array, Rows, Source
from hvcod.errors import HvcodError

SLACK = 1e-6
"""The distance by which rounding may move a probability out of [0, 1]."""
SUM_SLACK = 1e-2
"""The largest allowed difference between 1 and the sum of the probabilities of a row."""


class Findings:
    """Counts of problems, by file and kind, each with an example."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, str], list[object]] = {}
        self._warnings: dict[tuple[str, str], list[object]] = {}
        self._rows: dict[str, int] = {}
        self._range: dict[str, tuple[float, float]] = {}

    def checked(self, source: Source, rows: Rows) -> Rows:
        """Records problems of rows and returns the rows with values that can be measured."""
        self._rows[source.name] = self._rows.get(source.name, 0) + len(rows)
        if source.contents.classes == 0 or not len(rows):
            return rows
        values = rows["prediction"]
        lowest, highest = float(values.min()), float(values.max())
        if not (lowest >= -SLACK and highest <= 1 + SLACK):  # false for NaN as well
            self._not_probabilities(source, rows)
        if lowest < 0 or highest > 1 or np.isnan(lowest):
            rows["prediction"] = np.clip(np.nan_to_num(values, nan=0.5), 0.0, 1.0)
        if source.contents.classes:
            off = np.abs(values.sum(axis=1, dtype=np.float64) - 1) > SUM_SLACK
            self.warn(source.name, "rows of classes do not sum to 1", off, rows)
        if source.contents.labelled:
            above = rows["label"] >= (source.contents.classes or 2)
            self.fail(source.name, "labels are not the number of a class", above, rows)
        return rows

    def _not_probabilities(self, source: Source, rows: Rows) -> None:
        values = rows["prediction"]
        lowest, highest = self._range.get(source.name, (np.inf, -np.inf))
        finite = values[np.isfinite(values)]
        if len(finite):
            span = min(lowest, float(finite.min())), max(highest, float(finite.max()))
            self._range[source.name] = span
        nan = _any(np.isnan(values))
        outside = _any((values < -SLACK) | (values > 1 + SLACK))
        self.fail(source.name, "predictions are not a number (NaN)", nan, rows)
        self.fail(source.name, OUTSIDE, outside, rows)

    def fail(self, name: str, what: str, wrong: Array, rows: Rows) -> None:
        """Records rows (a mask) with a problem that makes the comparison fail at the end."""
        _note(self._errors, name, what, wrong, rows)

    def warn(self, name: str, what: str, wrong: Array, rows: Rows) -> None:
        """Records rows (a mask) with a problem that becomes a warning."""
        _note(self._warnings, name, what, wrong, rows)

    @property
    def warnings(self) -> list[str]:
        """The warnings, with counts."""
        return [self._line(key, *entry) for key, entry in self._warnings.items()]

    def raise_errors(self) -> None:
        """
        Raises:
            HvcodError: There were problems; lists all of them, with counts.
        """
        if self._errors:
            lines = [self._line(key, *entry) for key, entry in self._errors.items()]
            raise HvcodError("; ".join(lines))

    def _line(self, key: tuple[str, str], count: object, example: object) -> str:
        name, what = key
        line = f"{name}: {count:,} of {self._rows.get(name, 0):,} {what} (first: id {example})"
        if what == OUTSIDE:
            lowest, highest = self._range[name]
            line += f", from {lowest:.4g} to {highest:.4g}"
            if lowest < -0.5 or highest > 2:
                line += ": these look like logits; give probabilities (sigmoid or softmax of them)"
        return line


OUTSIDE = "predictions lie outside [0, 1]"


def _note(
    notes: dict[tuple[str, str], list[object]], name: str, what: str, wrong: Array, rows: Rows
) -> None:
    if count := int(np.count_nonzero(wrong)):
        first = shown(rows["id"][wrong][:1])[0]
        entry = notes.setdefault((name, what), [0, first])
        entry[0] = int(str(entry[0])) + count


def _any(wrong: Array) -> Array:
    return wrong if wrong.ndim == 1 else np.asarray(wrong.any(axis=1))


def shown(ids: Array) -> Sequence[str]:
    """Returns ids as text."""
    return [
        value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in ids.tolist()
    ]
