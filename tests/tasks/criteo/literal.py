"""Criteo's rows read the slow way: one field after the other, as the format is told."""

import math
import re
from typing import NamedTuple

from hvcod.tasks.criteo.dataset import INTEGERS
from hvcod.tasks.criteo.preparation.row_formats import Layout


class Row(NamedTuple):
    """One row, with None where a value is missing."""

    identity: int | None
    label: int | None
    integers: list[int | None]
    categories: list[str | None]


def read_row(line: bytes, layout: Layout) -> Row | None:
    """A line without its line feed as a row, or None if it is none."""
    try:
        fields = line.removesuffix(b"\r").decode("utf-8").split(layout.delimiter.decode())
    except UnicodeDecodeError:
        return None
    if len(fields) != len(layout.names):
        return None
    identity = label = None
    if layout.has_id:
        if not re.fullmatch("[0-9]{1,18}", fields[0]):
            return None
        identity = int(fields.pop(0))
    if layout.has_label:
        if fields[0] not in ("0", "1"):
            return None
        label = int(fields.pop(0))
    integers, categories = fields[:INTEGERS], fields[INTEGERS:]
    if not all(re.fullmatch("(-?[0-9]{1,18})?", field) for field in integers):
        return None
    if not all(re.fullmatch("([0-9a-fA-F]{8})?", field) for field in categories):
        return None
    return Row(
        identity,
        label,
        [int(field) if field else None for field in integers],
        [field.lower() or None for field in categories],
    )


def logarithm(value: int | None) -> float:
    """What becomes of an integer: sign(x) log(1 + |x|), NaN where it is missing."""
    return math.nan if value is None else math.copysign(math.log1p(abs(value)), value)
