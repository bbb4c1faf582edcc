"""The inputs of rows: files, or rows that are generated."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcod.errors import UsageError
from hvcod.tasks.criteo.preparation.generate import GENERATED_AT_ONCE
from hvcod.tasks.reading import compression
from hvcod.tasks.reading.files import Found, file_size, listed, path_of

_SUFFIXES = (".txt", ".tsv", ".csv")
_PARTS = re.compile(r"(day[_-]?\d+|part[_-]?\d+[^.]*)", re.IGNORECASE)
_ABOUT = re.compile(r"(read_?me|licen[cs]e|copying|notice|citation|changelog)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One input: a file or, without a path, rows of the generator from the first one on.

    Attributes:
        is_named: The user named the file itself, not a folder or a pattern.
    """

    name: str
    path: Path | None = None
    seed: int = 0
    first: int = 0
    rows: int = 0
    is_named: bool = True

    @property
    def size(self) -> int | None:
        """Bytes of a file, by which a changed input is noticed, or generated rows."""
        return self.rows if self.path is None else file_size(self.path)


def expand_inputs(inputs: Sequence[str]) -> Found[Source]:
    """Returns the files that the inputs stand for, in the given order: rows are in order of time.

    An input is a file, a glob, or a folder, which stands for every file below it that is named
    .txt, .tsv, .csv or like day_0 or part-0, compressed or not. What its name says is about the
    data (readme.txt) is left alone. Files of a glob or folder come in natural order: day_2 before
    day_10.

    Raises:
        UsageError: An input matches nothing, or rows would count double.
    """
    sources: dict[Path, Source] = {}
    left_alone: dict[str, None] = {}
    for text in inputs:
        listing = listed(text, _is_rows_name)
        left_alone |= dict.fromkeys(map(str, [*listing.left_alone, *listing.other]))
        is_named = path_of(text) in listing.files
        for file in sorted(listing.files, key=_natural):
            if file.resolve() in sources:
                raise UsageError(f"{file} is given twice: its rows would count double")
            if is_named or not is_about(file.name):
                sources[file.resolve()] = Source(str(file), file, is_named=is_named)
            else:
                left_alone[str(file)] = None
    if not sources:
        raise UsageError(f"no rows in {', '.join(inputs)}; left alone: {next(iter(left_alone))}")
    _refuse_copies(list(sources.values()))
    return Found(list(sources.values()), list(left_alone))


def is_about(name: str) -> bool:
    """Tells by its name whether a file is about the data, and no part of them."""
    return _ABOUT.match(name) is not None


def _refuse_copies(sources: Sequence[Source]) -> None:
    """Raises UsageError if a folder has a file both compressed and not."""
    seen: dict[str, Source] = {}
    for source in sources:
        plain = _plain_name(source.name)
        if plain in seen and not (source.is_named and seen[plain].is_named):
            raise UsageError(
                f"{source.name} and {seen[plain].name} look like the same rows: name one of them"
            )
        seen[plain] = source


def generated_inputs(rows: int, seed: int) -> list[Source]:
    """Returns inputs that the generator fills."""
    return [
        Source(
            f"generated rows from {first} on, seed {seed}",
            seed=seed,
            first=first,
            rows=min(GENERATED_AT_ONCE, rows - first),
        )
        for first in range(0, rows, GENERATED_AT_ONCE)
    ]


def _is_rows_name(name: str) -> bool:
    plain = _plain_name(name).lower()
    return plain.endswith(_SUFFIXES) or _PARTS.fullmatch(plain) is not None


def _plain_name(name: str) -> str:
    return name.rpartition(".")[0] if compression.codec_by_name(name) else name


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]
