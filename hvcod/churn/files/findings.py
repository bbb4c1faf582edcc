"""Problems of predictions: collected over a whole pass, then reported together with counts."""

import numpy as np

from hvcod.churn.files.rows import Array, Rows, Source
from hvcod.errors import HvcodError

SLACK = 1e-6
"""The distance by which rounding may move a probability out of [0, 1]."""
SUM_SLACK = 1e-2
"""The largest allowed difference between 1 and the sum of the probabilities of a row."""

OUTSIDE = "predictions lie outside [0, 1]"

_Notes = dict[tuple[str, str], tuple[int, str]]
"""{(name of the file, problem): (number of rows, id of the first)}."""


class Findings:
    """Counts of problems, by file and kind, each with an example."""

    def __init__(self) -> None:
        self._errors: _Notes = {}
        self._warnings: _Notes = {}
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
        values = rows["prediction"].reshape(len(rows), -1)
        lowest, highest = self._range.get(source.name, (np.inf, -np.inf))
        finite = values[np.isfinite(values)]
        if len(finite):
            span = min(lowest, float(finite.min())), max(highest, float(finite.max()))
            self._range[source.name] = span
        nan = np.any(np.isnan(values), axis=1)
        outside = np.any((values < -SLACK) | (values > 1 + SLACK), axis=1)
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

    def _line(self, key: tuple[str, str], count: int, example: str) -> str:
        name, what = key
        line = f"{name}: {count:,} of {self._rows.get(name, 0):,} {what} (first: id {example})"
        if what == OUTSIDE:
            lowest, highest = self._range[name]
            line += f", from {lowest:.4g} to {highest:.4g}"
            if lowest < -0.5 or highest > 2:
                line += ": these look like logits; give probabilities (sigmoid or softmax of them)"
        return line


def _note(notes: _Notes, name: str, what: str, wrong: Array, rows: Rows) -> None:
    if count := int(np.count_nonzero(wrong)):
        first = rows["id"][wrong][0]
        example = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
        before, example = notes.get((name, what), (0, example))
        notes[name, what] = before + count, example
