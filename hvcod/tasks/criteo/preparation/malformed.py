"""The reason why a line is not a row: slow and exact, for the few lines that `parse` refused."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from hvcod.tasks.criteo.dataset import CATEGORY_NAMES
from hvcod.tasks.criteo.preparation.row_formats import (
    LAYOUTS,
    LONGEST_LINE,
    USUAL_LABELS,
    Layout,
)

LONGEST_NUMBER = 18
"""Digits of a number, so that it fits into 64 bits."""

LOST = b"\0lost: "
"""The beginning of a line that stands for text lost in decompression; the reason follows."""

_NUMBER = re.compile(rf"-?[0-9]{{1,{LONGEST_NUMBER}}}", re.ASCII)
_ID = re.compile(rf"[0-9]{{1,{LONGEST_NUMBER}}}", re.ASCII)
_HASH = re.compile(r"[0-9a-fA-F]{8}", re.ASCII)
_SHOWN = 40


class Malformed(NamedTuple):
    """A line that is not a row: its number from 0, the kind of damage, and a description of it."""

    line: int
    kind: str
    damage: str


def examine(number: int, line: bytes, layout: Layout) -> Malformed:
    """Explains why a line, without its line feed, is not a row of a layout."""
    return Malformed(number, *_reason(line.removesuffix(b"\r"), layout))


def _reason(line: bytes, layout: Layout) -> tuple[str, str]:
    if line.startswith(LOST):
        return "lost in compression", f"rows are lost: {line.removeprefix(LOST).decode()}"
    if not line:
        return "empty line", "an empty line"
    if len(line) > LONGEST_LINE:
        return "line too long", f"a line longer than {LONGEST_LINE} bytes"
    if b"\0" in line:
        return "NUL byte", "a NUL byte"
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "not UTF-8", "bytes that are not UTF-8"
    fields = text.split(layout.delimiter.decode())
    if len(fields) != len(layout.names):
        return "number of columns", _columns(len(fields), layout)
    for name, field in zip(layout.names, fields, strict=True):
        if name == "Label" and field not in layout.labels:
            return "label", f"label {_shown(field)}, {_known(layout.labels)}"
        if reason := _field(name, field):
            return reason
    return "control character", "a control character"


def _columns(count: int, layout: Layout) -> str:
    here = f"{count} columns instead of {len(layout.names)}"
    for other in LAYOUTS:
        if other.delimiter == layout.delimiter and len(other.names) == count:
            return f"{here}: a row {'with a' if other.has_label else 'without'} label"
    return here


def _field(name: str, field: str) -> tuple[str, str] | None:
    shown = _shown(field)
    if name == "Id":
        return None if _ID.fullmatch(field) else ("id", f"Id {shown}, not a number")
    if name == "Label" or not field:
        return None
    if name in CATEGORY_NAMES:
        good = _HASH.fullmatch(field)
        return None if good else ("category", f"{name} {shown}, not 8 hexadecimal digits")
    good = _NUMBER.fullmatch(field)
    return None if good else ("integer", f"{name} {shown}, not an integer of up to 18 digits")


def _shown(field: str) -> str:
    return repr(field if len(field) <= _SHOWN else f"{field[:_SHOWN]}...")


def _known(labels: Mapping[str, int]) -> str:
    if labels == USUAL_LABELS:
        return "not 0 or 1 (nor -1, true, false)"
    return f"not one of --labels {','.join(labels)}"
