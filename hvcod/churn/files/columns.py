"""Columns of a file by their names: what can be read in two ways is refused, never guessed."""

import re
from collections.abc import Sequence

from hvcod.churn.files.rows import Columns, Wanted
from hvcod.errors import HvcodError

_MOST_SHOWN = 10


def choose(file: str, header: Sequence[str], wanted: Wanted, noun: str = "column") -> Columns:
    """Returns the columns of a file that are to be read.

    Args:
        file: Its name in messages.
        header: The names of all its columns.
        noun: What the file calls a column.

    Raises:
        HvcodError: A wanted column is missing, or the names leave open what is meant.
    """
    choice = _Choice(file, header, wanted, noun)
    predictions = choice.predictions() if wanted.predictions else []
    label = "label" if wanted.predictions and "label" in header else None
    slices = wanted.slice_column if wanted.slice_column in header else None
    if not wanted.predictions and slices is None:
        raise choice.refusal(f"has no {noun} {wanted.slice_column}")
    used = {*predictions, label, slices}
    identity = choice.id([name for name in header if name not in used])
    others = tuple(name for name in header if name not in used | {identity})
    label = label if wanted.labels else None
    columns = Columns(tuple(predictions), identity, label, slices, others)
    if twice := next((name for name in columns.names if header.count(name) > 1), None):
        raise HvcodError(f"{file}: several {noun}s have the name {twice}")
    return columns


class _Choice:
    """A file's column names, and the options that say which to read."""

    def __init__(self, file: str, header: Sequence[str], wanted: Wanted, noun: str) -> None:
        self._file, self._header, self._wanted, self._noun = file, header, wanted, noun

    def predictions(self) -> list[str]:
        """The column of the predictions, or those of all classes."""
        if self._wanted.prediction_column is not None:
            return self._named(self._wanted.prediction_column)
        numbered = self._numbered("prediction_")
        if "prediction" in self._header:
            if numbered:
                raise HvcodError(
                    f"{self._file} has both prediction and {numbered[0]}: choose by "
                    "--prediction-column prediction or --prediction-column 'prediction_*'"
                )
            return ["prediction"]
        if numbered and self._from_zero(numbered, "prediction_"):
            return numbered
        raise self.refusal(
            f"has neither a {self._noun} prediction nor prediction_0, prediction_1, ...",
            "--prediction-column NAME reads another one" + self._first_line(),
        )

    def _named(self, text: str) -> list[str]:
        for words in (text, *text.split("|")):
            numbered, names = self._numbered(words[:-1]), words.split(",")
            if words in self._header:
                return [words]
            if words.endswith("*") and self._from_zero(numbered, words[:-1]):
                return numbered
            if all(name in self._header for name in names):
                return names
        raise self._no_such("--prediction-column", text)

    def _numbered(self, prefix: str) -> list[str]:
        names = {name for name in self._header if re.fullmatch(re.escape(prefix) + r"\d+", name)}
        return sorted(names, key=lambda name: int(name[len(prefix) :]))

    def _from_zero(self, names: Sequence[str], prefix: str) -> bool:
        return bool(names) and names == [f"{prefix}{number}" for number in range(len(names))]

    def id(self, unused: Sequence[str]) -> str | None:
        """The column of the ids; None if rows are aligned by their number.

        Args:
            unused: The columns that nothing else is read from.
        """
        if self._wanted.by_row:
            return None
        if self._wanted.id_column is not None:
            return self._named_id(self._wanted.id_column)
        if "id" in unused:
            return "id"
        if unused:
            shown = _shown(unused)
            raise HvcodError(
                f"{self._file} has no {self._noun} id, but {shown}: name the {self._noun} of the "
                f"ids by --id-column={_word(unused[0])}, or align rows by their number by --by-row"
            )
        return None

    def _named_id(self, text: str) -> str:
        found = next((name for name in (text, *text.split("|")) if name in self._header), None)
        if found is None:
            raise self._no_such("--id-column", text)
        return found

    def _no_such(self, option: str, text: str) -> HvcodError:
        # Not as !r, which would hide what a shell needs.
        advice = f"where files differ, name all: {option}='{text}|NAME'"
        return self.refusal(f"has no {self._noun} '{text}'", advice)

    def refusal(self, what: str, advice: str = "") -> HvcodError:
        """An error about this file, which shows its columns."""
        line = f"{self._file} {what}; it has {_shown(self._header) or 'nothing'}"
        return HvcodError(f"{line}: {advice}" if advice else line)

    def _first_line(self) -> str:
        values = [name for name in self._header if re.fullmatch(r"[+-]?\d*\.?\d+", name)]
        return "" if not values else "; the first line must hold the names of the columns"


def _shown(names: Sequence[str]) -> str:
    more = f", and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    # pandas writes its index as a column without a name.
    return ", ".join(name or "a column without a name" for name in names[:_MOST_SHOWN]) + more


def _word(name: str) -> str:
    """A column's name as a word of a shell."""
    return name if re.fullmatch(r"[\w.,-]+", name) else f"'{name}'"
