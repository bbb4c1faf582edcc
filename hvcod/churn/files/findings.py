"""Problems of predictions: collected over a whole pass, then reported together with counts."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvcod.churn.files.rows import Array, Rows, Source
from hvcod.churn.files.scale import probabilities
from hvcod.errors import HvcodError

SLACK = 1e-6
"""The distance by which rounding may move a probability out of [0, 1]."""
SUM_SLACK = 1e-2
"""The largest difference between 1 and the sum of the probabilities of a row without a warning."""
OFF = 0.5
"""The difference beyond which they are no probabilities of classes."""

NAN = "predictions are not a number (NaN)"
OUTSIDE = "predictions lie outside [0, 1]"
NO_ID = "rows have no id"
TWICE = "rows repeat an id"
MISSING = "rows are missing in"
LABELS_DIFFER = "labels differ from those of earlier files"
NO_CLASS = "labels are not the number of a class"

_MOST_SHOWN = 60
"""The most characters of an id in a message."""

_LOOKS_LIKE_A_NUMBER = re.compile(r"[+-]?(0\d+|\d+\.\d*|\d+[eE]\+?\d+)|\+\d+")
"""Ids that are numbers, but not in their shortest form."""

_Notes = dict[tuple[str, str], tuple[int, str]]
"""{(name of the file, problem): (number of rows, id of the first)}."""


@dataclass
class _Tally:
    """Sums over the rows of a file that show what its values are.

    Attributes:
        lowest, highest: Of the predictions outside [0, 1], and of those beside them.
        whole: All predictions so far are whole numbers.
        labels: Known labels that are 0, that are not 0, and unknown ones.
        least_off: The smallest difference between 1 and the sum of a row of classes.
    """

    rows: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    whole: bool = True
    labels: tuple[int, int, int] = (0, 0, 0)
    least_off: float = np.inf

    @property
    def decides(self) -> bool:
        """True if all predictions are 0 or 1."""
        return self.rows > 0 and self.whole and self.highest <= 1 and self.lowest >= 0


class Findings:
    """Counts of problems, by file and kind, each with an example.

    Args:
        scale: The scale of the predictions; see `hvcod.churn.files.scale.probabilities`.
    """

    def __init__(self, scale: str = "probability") -> None:
        self._scale = scale
        self._errors: _Notes = {}
        self._warnings: _Notes = {}
        self._tallies = defaultdict[str, _Tally](_Tally)

    def checked(self, source: Source, rows: Rows) -> Rows:
        """Records problems of rows and returns the rows with values that can be measured."""
        tally = self._tallies[source.name]
        tally.rows += len(rows)
        if source.contents.classes == 0 or not len(rows):
            return rows
        if self._scale != "probability":
            rows["prediction"] = probabilities(rows["prediction"], self._scale)
        values = rows["prediction"]
        tally.whole = tally.whole and bool((values == np.rint(values))[np.isfinite(values)].all())
        lowest, highest = float(values.min()), float(values.max())
        if not (lowest >= -SLACK and highest <= 1 + SLACK):  # false for NaN as well
            self._not_probabilities(source, rows, tally)
        if lowest < 0 or highest > 1 or np.isnan(lowest):
            rows["prediction"] = np.clip(np.nan_to_num(values, nan=0.5), 0.0, 1.0)
        if source.contents.classes:
            off = np.abs(values.sum(axis=1, dtype=np.float64) - 1)
            tally.least_off = min(tally.least_off, float(off.min()))
            self.warn(source.name, "rows of classes do not sum to 1", off > SUM_SLACK, rows)
        if source.contents.labelled:
            self._check_labels(source, rows, tally)
        return rows

    def _not_probabilities(self, source: Source, rows: Rows, tally: _Tally) -> None:
        values = rows["prediction"].reshape(len(rows), -1)
        known = values[~np.isnan(values)]
        tally.lowest = min(tally.lowest, float(known.min(initial=np.inf)))
        tally.highest = max(tally.highest, float(known.max(initial=-np.inf)))
        nan = np.any(np.isnan(values), axis=1)
        outside = np.any((values < -SLACK) | (values > 1 + SLACK), axis=1)
        self.fail(source.name, NAN, nan, rows)
        self.fail(source.name, OUTSIDE, outside, rows)

    def _check_labels(self, source: Source, rows: Rows, tally: _Tally) -> None:
        labels = rows["label"]
        above = labels >= (source.contents.classes or 2)
        self.fail(source.name, NO_CLASS, above, rows)
        zeros, unknown = int(np.count_nonzero(labels == 0)), int(np.count_nonzero(labels < 0))
        counts = zeros, len(labels) - zeros - unknown, unknown
        before = tally.labels
        tally.labels = before[0] + counts[0], before[1] + counts[1], before[2] + counts[2]

    def check_files(self, sources: Sequence[Source], chosen: bool) -> list[str]:
        """Looks at what only all rows of a file show, and returns warnings.

        Args:
            chosen: Whether the user named the column of the predictions.

        Raises:
            HvcodError: A file says something else than it seems to say.
        """
        models = [source for source in sources if source.contents.classes != 0]
        for source in models:
            if OFF < self._tallies[source.name].least_off < np.inf:
                raise HvcodError(
                    f"{source.name}: no row of its {source.contents.classes} classes sums to about "
                    "1; give one probability per row, [rows], or those of all classes"
                )
            zeros, ones, unknown = self._tallies[source.name].labels
            if ones and unknown and not zeros and source.contents.classes is None:
                raise HvcodError(
                    f"{source.name}: {ones:,} labels are 1, {unknown:,} are unknown (-1 or empty) "
                    "and none is 0: --classes=-1,1 if -1 is the other class, or --no-labels"
                )
        deciding = [source for source in models if self._tallies[source.name].decides]
        warnings = []
        for source in deciding:
            rows, columns = self._tallies[source.name].rows, source.contents.columns
            says = f"{source.name}: all {rows:,} predictions are 0 or 1, like decisions"
            if not chosen and (columns.others or len(deciding) < len(models)):
                same = columns.prediction[0] if len(columns.prediction) == 1 else "prediction_*"
                also = ", ".join(columns.others[:10])
                also = f"it also has {also}" if also else "those of other files are not"
                raise HvcodError(
                    f"{says}, and {also}: name the column of the probabilities by "
                    f"--prediction-column (or {same} to compare these)"
                )
            warnings.append(f"{says}; between decisions, churn is the share of rows that differ")
        return warnings

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
            problems = {what for _, what in self._errors}
            if any(what.startswith(MISSING) for what in problems):
                lines.append("--common compares the rows that all files have")
            if TWICE in problems:
                lines.append("--id-column names another column, --by-row aligns rows by number")
            raise HvcodError("; ".join(lines))

    def _line(self, key: tuple[str, str], count: int, example: str) -> str:
        name, what = key
        tally = self._tallies[name]
        line = f"{name}: {count:,} of {tally.rows:,} {what}"
        line += f" (first: id {example})" if example else ""
        if what == OUTSIDE:
            line += f", from {tally.lowest:.4g} to {tally.highest:.4g}{_hint(tally)}"
        if what == NO_CLASS:
            line += ": classes are numbered from 0; --classes 1,2 names them where they are not"
        if what == NO_ID:
            line += ": --by-row aligns rows by their number"
        if what == LABELS_DIFFER:
            line += ": --no-labels compares the predictions alone"
        if what.startswith(MISSING) and _LOOKS_LIKE_A_NUMBER.fullmatch(example):
            line += ": as text, 7, 07 and 7.0 are three ids; --ids number compares numbers"
        return line


def _hint(tally: _Tally) -> str:
    """Advice for predictions outside [0, 1], by what they look like."""
    lowest, highest = tally.lowest, tally.highest
    if np.isinf(lowest) or np.isinf(highest):
        return ": infinite numbers are among them"
    if lowest >= -SLACK and tally.whole:
        more = ", or --scale percent if they are per cent" if 20 < highest <= 100 else ""
        return (
            ": these look like class numbers; give the probability of each class as prediction_0, "
            f"prediction_1, ..., or name its columns by --prediction-column{more}"
        )
    if lowest >= -SLACK and 2 < highest <= 100 + SLACK:
        return ": these look like per cent: --scale percent"
    if highest <= 0 and lowest < -0.5:
        return ": these look like logits, or logarithms of probabilities: --scale logit or log"
    if lowest < -0.5 or highest > 2:
        return ": these look like logits: --scale logit"
    return ""


def _note(notes: _Notes, name: str, what: str, wrong: Array, rows: Rows) -> None:
    if count := int(np.count_nonzero(wrong)):
        first = rows["id"][wrong][0]
        example = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
        example = example if len(example) <= _MOST_SHOWN else f"{example[:_MOST_SHOWN]}..."
        before, example = notes.get((name, what), (0, example))
        notes[name, what] = before + count, example
