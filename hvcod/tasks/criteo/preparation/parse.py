"""Parsing rows, a block of lines at once, without a loop over rows or fields.

Eight bytes of a field are read as one 64-bit number: a hash of eight hexadecimal digits and the
last eight digits of an integer fit into one, and a few operations on all its bytes at once check
them and turn them into their value.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hvcod.tasks.criteo.dataset import CATEGORIES, INTEGERS
from hvcod.tasks.criteo.preparation.malformed import LONGEST_NUMBER, Malformed, examine
from hvcod.tasks.criteo.preparation.row_formats import Layout

Array = npt.NDArray[Any]
Words = npt.NDArray[np.uint64]

_LINE_FEED, _RETURN, _MINUS = 10, 13, 45
_WORD = 8
_ONES = 0x0101010101010101


class Rows(NamedTuple):
    """Rows as columns of equal length.

    Attributes:
        lines: Line of each row, from 0 in the block or the piece.
        ids: The number in the first column, or -1.
        labels: 1 for a click, 0 for none, or -1.
        integers: float32 [13, rows]: sign(x) log(1 + |x|), NaN where missing.
        categories: uint32 [26, rows], 0 where missing.
        missing: uint32, bit c for a missing category c.
    """

    lines: Array
    ids: Array
    labels: Array
    integers: Array
    categories: Array
    missing: Array


class Block(NamedTuple):
    """The content of a block of lines.

    Attributes:
        rows: The rows.
        malformed: The lines that are not rows.
        lines: The number of all lines.
        labels: The rows by the way in which their labels are written.
    """

    rows: Rows
    malformed: list[Malformed]
    lines: int
    labels: dict[str, int]


def parse(text: bytes, layout: Layout) -> Block:
    """Parses lines, each with a line feed; every line is a row or malformed."""
    fields = _Fields(text, layout)
    first = layout.has_id + layout.has_label
    ids, good = _ids(fields) if layout.has_id else (np.full(fields.rows, -1), True)
    labels = np.full(fields.rows, -1, dtype=np.int8)
    written: dict[str, Array] = {}
    if layout.has_label:
        labels, written = _labels(fields, first - 1, layout.labels)
        good &= labels >= 0
    integers, whole = _integers(fields, slice(first, first + INTEGERS))
    categories, missing, hashes = _categories(fields, slice(first + INTEGERS, None))
    rows = Rows(fields.lines, ids, labels, integers, categories, missing)
    good &= whole & hashes
    if not good.all():
        rows = Rows(*(column[..., good] for column in rows))
    malformed = []
    if len(rows.lines) < fields.line_count:
        lines = text.split(b"\n")
        refused = np.setdiff1d(np.arange(fields.line_count), rows.lines)
        malformed = [examine(int(number), lines[number], layout) for number in refused]
    counts = {text: int((places & good).sum()) for text, places in written.items()}
    return Block(rows, malformed, fields.line_count, counts)


class _Fields:
    """The positions of the fields in the lines that have the right number of them.

    Attributes:
        line_count: The number of all lines.
        rows: The number of lines with the right number of fields.
        lines: The numbers of these lines.
        ends: The position behind each field, [columns, rows].
        lengths: Bytes of each field, [columns, rows].
    """

    def __init__(self, text: bytes, layout: Layout) -> None:
        padding = b"\0" * _WORD  # so that eight bytes end at every position
        self._bytes = np.frombuffer(padding + text, dtype=np.uint8)
        self._words = np.ndarray(
            (len(text) + 1,), dtype="<u8", buffer=self._bytes.data, strides=(1,)
        )
        content = self._bytes[_WORD:]
        # No byte up to the line feed may be in a row but tab and line feed.
        special = content <= _LINE_FEED
        if layout.delimiter != b"\t":
            special |= content == layout.delimiter[0]
        places = np.flatnonzero(special).astype(np.int32)
        kinds = content[places]
        columns = len(layout.names)
        last = np.flatnonzero(kinds == _LINE_FEED)
        self.line_count = len(last)
        fits = np.diff(last, prepend=-1) == columns
        self.lines = np.flatnonzero(fits)
        chosen = slice(None)
        if len(self.lines) < len(last):
            chosen = (last[fits] - (columns - 1))[:, None] + np.arange(columns)
        kinds = kinds[chosen].reshape(-1, columns)
        before = np.concatenate([[-1], places])[: len(places)].astype(np.int32)
        ends, before = (each[chosen].reshape(-1, columns) for each in (places, before))
        pure = (kinds[:, :-1] == layout.delimiter[0]).all(axis=1)
        if not pure.all():
            self.lines, ends, before = self.lines[pure], ends[pure], before[pure]
        self.rows = len(self.lines)
        self.ends = np.ascontiguousarray(ends.T)
        self.lengths = self.ends - before.T - 1
        returns = content[self.ends[-1] - 1] == _RETURN
        self.ends[-1] -= returns
        self.lengths[-1] -= returns

    def first_byte(self, columns: int | slice) -> Array:
        """Returns the first byte of fields; of an empty one, any byte."""
        return np.asarray(self._bytes[self.ends[columns] - self.lengths[columns] + _WORD])

    def last_eight(self, columns: int | slice) -> Words:
        """Returns the eight bytes before the ends of fields, the first one in the lowest bits."""
        return np.asarray(self._words[self.ends[columns]], dtype=np.uint64)

    def text(self, column: int, row: int) -> bytes:
        """Returns one field."""
        end = int(self.ends[column, row]) + _WORD
        return self._bytes[end - int(self.lengths[column, row]) : end].tobytes()


def _labels(
    fields: _Fields, column: int, known: Mapping[str, int]
) -> tuple[Array, dict[str, Array]]:
    """Returns labels, -1 where they are none, and the rows of each way to write one that occurs."""
    lengths, words = fields.lengths[column], fields.last_eight(column)
    labels = np.full(fields.rows, -1, dtype=np.int8)
    written = {}
    for text, label in known.items():
        word = np.uint64(int.from_bytes(text.encode().rjust(_WORD, b"\0"), "little"))
        unused = np.uint64(8 * (_WORD - len(text.encode())))
        places = (lengths == len(text.encode())) & ((words >> unused) << unused == word)
        if places.any():
            labels[places] = label
            written[text] = places
    return labels, written


def _ids(fields: _Fields) -> tuple[Array, Array]:
    columns = slice(0, 1)
    values, good = _numbers(fields, columns, fields.lengths[columns])
    return values[0], (good & (fields.lengths[columns] > 0))[0]


def _integers(fields: _Fields, columns: slice) -> tuple[Array, Array]:
    """Returns logarithms, [13, rows], and which rows hold nothing but integers."""
    lengths = fields.lengths[columns]
    negative = (fields.first_byte(columns) == _MINUS) & (lengths > 0)
    digits = lengths - negative
    values, good = _numbers(fields, columns, digits)
    logarithms = np.log1p(values.astype(np.float32))
    np.negative(logarithms, out=logarithms, where=negative)
    missing = lengths == 0
    logarithms[missing] = np.nan
    return logarithms, (good & (missing | (digits > 0))).all(axis=0)


def _numbers(fields: _Fields, columns: slice, digits: Array) -> tuple[Array, Array]:
    """Returns numbers of so many digits at the ends of fields, and which are numbers."""
    unused = (np.maximum(_WORD - digits, 0) * 8).astype(np.uint64)
    word = ((fields.last_eight(columns) ^ np.uint64(0x30 * _ONES)) >> unused) << unused
    good = ((word + np.uint64(0x76 * _ONES)) | word) & np.uint64(0x80 * _ONES) == 0
    word = (word * np.uint64(2561)) >> np.uint64(8)
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    word = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
    values = word.astype(np.int64)
    for column, row in zip(*np.nonzero(digits > _WORD), strict=True):
        text = fields.text(column + (columns.start or 0), row)[-int(digits[column, row]) :]
        good[column, row] = text.isdigit() and len(text) <= LONGEST_NUMBER
        values[column, row] = int(text) if good[column, row] else 0
    return values, good


def _categories(fields: _Fields, columns: slice) -> tuple[Array, Array, Array]:
    """Returns hashes [26, rows], the missing ones as bits, and which rows hold only hashes."""
    lengths, word = fields.lengths[columns], fields.last_eight(columns)
    nibbles = word & np.uint64(0x0F * _ONES)
    letters = (word >> np.uint64(6)) & np.uint64(_ONES)
    nibbles += letters * np.uint64(9)
    # Written out again, the value must give the same bytes, but for the case of letters.
    letters = ((nibbles + np.uint64(0x06 * _ONES)) >> np.uint64(4)) & np.uint64(_ONES)
    again = nibbles + np.uint64(0x30 * _ONES) + letters * np.uint64(ord("a") - ord("0") - 10)
    wrong = (word ^ again) & ~(letters << np.uint64(5)) | nibbles & np.uint64(0xF0 * _ONES)
    good = wrong == 0
    value = ((nibbles << np.uint64(4)) | (nibbles >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    value = ((value << np.uint64(8)) | (value >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    value = (value << np.uint64(16)) | (value >> np.uint64(32))
    empty = lengths == 0
    hashes = value.astype(np.uint32)
    hashes[empty] = 0
    bits = np.bitwise_or.reduce(empty << np.arange(CATEGORIES, dtype=np.uint32)[:, None], axis=0)
    return hashes, bits, (empty | (good & (lengths == _WORD))).all(axis=0)
