"""Types of options that people write as text: durations, lists of numbers, names or paths."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self


class Duration(float):
    """Seconds; can be made from text such as ``90``, ``3h55m``, ``03:55:00`` or ``1-12:00:00``."""

    _UNITS: ClassVar[Mapping[str, int]] = {"d": 86400, "h": 3600, "m": 60, "s": 1}

    def __new__(cls, value: float | str) -> Self:
        """Raises ValueError for text that is not a duration."""
        if isinstance(value, str):
            value = cls._seconds(value.strip().lower())
        return super().__new__(cls, value)

    @classmethod
    def _seconds(cls, text: str) -> float:
        days, dash, clock_text = text.partition("-")
        if dash:
            return int(days) * cls._UNITS["d"] + cls._seconds(clock_text)
        if ":" in text:
            clock = [int(part) for part in text.split(":")]
            return float(sum(part * 60.0**power for power, part in enumerate(reversed(clock))))
        parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * cls._UNITS[unit] for number, unit in parts)
        return float(text)


class Numbers(str):
    """A list of numbers as text with commas between them, such as ``0.3,0.6``; may be empty."""

    EXPECTED: ClassVar[str] = "numbers with commas between them, such as 0.3,0.6"

    def __new__(cls, text: str | float = "") -> Self:
        """Raises ValueError for text that is not such a list."""
        parts = [part.strip() for part in str(text).split(",")] if str(text).strip() else []
        if not all(math.isfinite(float(part)) for part in parts):
            raise ValueError(text)
        return super().__new__(cls, ",".join(parts))

    @property
    def values(self) -> list[float]:
        """The numbers, in order."""
        return [float(part) for part in self.split(",")] if self else []


class Sizes(Numbers):
    """A list of whole numbers from 1 as text, such as ``64,32``; not empty."""

    EXPECTED: ClassVar[str] = "whole numbers from 1, such as 64,32"

    def __new__(cls, text: str | float) -> Self:
        """Raises ValueError for text that is not such a list."""
        made = super().__new__(cls, text)
        if not made or min(made.units) < 1 or made.units != made.values:
            raise ValueError(text)
        return made

    @property
    def units(self) -> list[int]:
        """The numbers, in order."""
        return [int(value) for value in self.values]


class Names(str):
    """A list of names as text with commas between them, such as ``mlflow,wandb``; may be empty.

    A name that is repeated counts once.
    """

    EXPECTED: ClassVar[str] = "names with commas between them, such as mlflow,wandb"
    REPEATED: ClassVar[bool] = True

    def __new__(cls, text: str | float = "") -> Self:
        """Raises ValueError if a name is empty."""
        parts = [part.strip() for part in str(text).split(",")] if str(text).strip() else []
        if not all(parts):
            raise ValueError(text)
        return super().__new__(cls, ",".join(dict.fromkeys(parts)))

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return self.split(",") if self else []


class Paths(tuple[Path, ...]):
    """A list of paths; text is a single one, as a path may hold any character."""

    EXPECTED: ClassVar[str] = "a path, or a list of paths"
    REPEATED: ClassVar[bool] = True

    def __new__(cls, paths: str | Path | Iterable[str | Path] = ()) -> Self:
        """Raises ValueError for what is not a list of paths."""
        if isinstance(paths, str | Path):
            paths = [paths] if str(paths) else []
        paths = list(paths)
        if not all(isinstance(path, str | Path) and str(path) for path in paths):
            raise ValueError(paths)
        return super().__new__(cls, map(Path, paths))

    def __str__(self) -> str:
        return ", ".join(map(str, self))


class Steps(str):
    """Some training steps, counted from 1: one such as ``100``, or all of ``100:110``.

    Attributes:
        first: The first of them.
        last: The last of them.
    """

    EXPECTED: ClassVar[str] = "a step such as 100, or the first and the last: 100:110"

    first: int
    last: int

    def __new__(cls, text: str | int) -> Self:
        """Raises ValueError for text that is neither."""
        made = super().__new__(cls, str(text).strip())
        first, _, last = made.partition(":")
        made.first, made.last = int(first), int(last if ":" in made else first)
        if not 1 <= made.first <= made.last:
            raise ValueError(text)
        return made


class Window(str):
    """A share of what is in some order, such as ``0.25:0.75`` for the half in the middle.

    Attributes:
        first: The share in front of it, from 0.
        last: The share up to its end, at most 1.
    """

    EXPECTED: ClassVar[str] = "where a share begins and ends, such as 0.25:0.75, between 0 and 1"

    first: float
    last: float

    def __new__(cls, text: str) -> Self:
        """Raises ValueError for text that is not such a share."""
        made = super().__new__(cls, str(text).strip())
        first, _, last = made.partition(":")
        made.first, made.last = float(first), float(last)
        if not 0 <= made.first < made.last <= 1:
            raise ValueError(text)
        return made

    def of(self, count: int) -> range:
        """Returns the numbers of the items in it, of so many."""
        return range(math.floor(self.first * count + 0.5), math.floor(self.last * count + 0.5))


class Limit(str):
    """The largest number of bad items, such as ``1000``, or their largest share, such as ``1%``."""

    EXPECTED: ClassVar[str] = "a number such as 1000, or a share such as 1%"
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"(\d+)|(\d+(?:\.\d*)?|\.\d+) ?%", re.ASCII)

    def __new__(cls, text: str | float) -> Self:
        """Raises ValueError for text that is neither."""
        stripped = str(text).strip()
        form = cls._FORM.fullmatch(stripped)
        if not form or float(form[2] or 0) > 100:
            raise ValueError(text)
        return super().__new__(cls, stripped.replace(" ", ""))

    @property
    def number(self) -> int | None:
        """The number, None for a share."""
        return None if self.endswith("%") else int(self)

    def is_exceeded(self, bad: int, of: int) -> bool:
        """Tells whether so many bad items, of so many in all, are too many."""
        most = self.number
        return bad > (of * float(self[:-1]) / 100 if most is None else most)
