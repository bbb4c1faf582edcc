"""JSON lines: one object a line, with its text in a field and perhaps an id in another."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from hvcod.tasks.commoncrawl.reading.document import DEFAULT_FIELDS, Document, Fields, decode
from hvcod.tasks.commoncrawl.reading.segments import MAX_RECORD_BYTES, DamagedError, SegmentReader

# JSON can write half of a surrogate pair as an escape; UTF-8, and so every later file, cannot.
_SURROGATES = re.compile("[\ud800-\udfff]")
_SKIPPED_AT_ONCE = 64 * 1024

NO_FIELD = "no field "
"""The beginning of a reason of damage."""

_NAMES_SHOWN, _SHOWN = 8, 40


def read_json_lines(reader: SegmentReader, fields: Fields = DEFAULT_FIELDS) -> Iterator[Document]:
    """Yields the documents; blank lines are skipped."""
    number = 0
    while reader.next_segment():
        while line := reader.readline():
            number += 1
            try:
                if line.strip():
                    yield _document(reader, line, number, fields)
            except DamagedError as damage:
                at_end = reader.finished and not line.endswith(b"\n")
                reader.damaged(f"line {number}", str(damage), at_end, damage.detail)


def _document(reader: SegmentReader, line: bytes, number: int, fields: Fields) -> Document:
    if len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
        while not line.endswith(b"\n") and (line := reader.readline(_SKIPPED_AT_ONCE)):
            pass
        raise DamagedError(f"longer than {MAX_RECORD_BYTES} bytes")
    source_text, replaced = decode(line)
    row = _parse(source_text)
    text = _text(row, fields.text)
    if "\\u" in source_text:
        text, halves = _SURROGATES.subn("\ufffd", text)
        replaced = replaced or halves > 0
    return _named(reader, row, text, number, fields, replaced=replaced)


def document_of_row(
    reader: SegmentReader, row: dict[str, Any], number: int, fields: Fields
) -> Document:
    """Returns the document in a row with a number from 1, and counts it.

    Raises:
        DamagedError: The row has no text.
    """
    return _named(reader, row, _text(row, fields.text), number, fields, replaced=False)


def _named(
    reader: SegmentReader,
    row: dict[str, Any],
    text: str,
    number: int,
    fields: Fields,
    *,
    replaced: bool,
) -> Document:
    own = _value(row, fields.id)
    if isinstance(own, bool) or not isinstance(own, str | int):
        own = ""
    identity = " ".join(_SURROGATES.sub("\ufffd", str(own)).split())
    if not identity:
        reader.report.unnamed += 1
    reader.good(replaced)
    if isinstance(own, int):  # such numbers begin again in every file
        return Document(f"{reader.source}:{identity}", text, number=identity)
    return Document(identity or f"{reader.source}#{number}", text)


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise DamagedError("broken JSON") from error
    if not isinstance(row, dict):
        raise DamagedError("JSON that is no object")
    return row


def _text(row: dict[str, Any], field: str) -> str:
    text = _value(row, field)
    if isinstance(text, str):
        return text
    if text is not None or field in row:
        inside = (
            [f"{field}.{inner}" for inner in _text_fields(text)] if isinstance(text, dict) else []
        )
        detail = f"try {inside[0][:_SHOWN]!r}" if inside else ""
        raise DamagedError(f"the field {field!r} is no string", detail)
    names = itertools.islice(_text_fields(row), _NAMES_SHOWN)
    there = ", ".join(repr(name[:_SHOWN]) for name in names) or "none of text"
    raise DamagedError(f"{NO_FIELD}{field!r}", f"the fields are {there}")


def _text_fields(row: dict[str, Any]) -> Iterator[str]:
    """Yields the names of fields with text, those inside an object behind the object's."""
    for name, value in row.items():
        if isinstance(value, str):
            yield name
        elif isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value if isinstance(value[inner], str))


def _value(row: dict[str, Any], field: str) -> Any:
    """Returns the value of a field; ``meta.url`` is a field of the object in ``meta``."""
    if field in row:
        return row[field]
    outer, dot, inner = field.partition(".")
    below = row.get(outer)
    return _value(below, inner) if dot and isinstance(below, dict) else None
