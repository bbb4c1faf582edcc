"""JSON lines: one object a line with its text in the field ``text``, and perhaps an ``id``."""

import json
import re
from collections.abc import Iterator
from typing import Any

from hvcod.tasks.commoncrawl.reading.document import Document, decode
from hvcod.tasks.commoncrawl.reading.segments import MAX_RECORD_BYTES, DamagedError, SegmentReader

# JSON can write half of a surrogate pair as an escape; UTF-8, and so every later file, cannot.
_SURROGATES = re.compile("[\ud800-\udfff]")
_SKIPPED_AT_ONCE = 64 * 1024


def read_json_lines(reader: SegmentReader) -> Iterator[Document]:
    """Yields the documents; blank lines are skipped."""
    number = 0
    while reader.next_segment():
        while line := reader.readline():
            number += 1
            try:
                if line.strip():
                    yield _document(reader, line, f"{reader.source}#{number}")
            except DamagedError as damage:
                at_end = reader.finished and not line.endswith(b"\n")
                reader.damaged(f"line {number}", str(damage), truncated=at_end)


def _document(reader: SegmentReader, line: bytes, name: str) -> Document:
    if len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
        while not line.endswith(b"\n") and (line := reader.readline(_SKIPPED_AT_ONCE)):
            pass
        raise DamagedError(f"longer than {MAX_RECORD_BYTES} bytes")
    source_text, replaced = decode(line)
    row = _parse(source_text)
    text = row["text"]
    if "\\u" in source_text:
        text, halves = _SURROGATES.subn("\ufffd", text)
        replaced = replaced or halves > 0
    reader.good(replaced)
    return Document(_id(row) or name, text)


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise DamagedError("broken JSON") from error
    if not isinstance(row, dict):
        raise DamagedError("JSON that is no object")
    if "text" not in row:
        raise DamagedError("no field 'text'")
    if not isinstance(row["text"], str):
        raise DamagedError("the field 'text' is no string")
    return row


def _id(row: dict[str, Any]) -> str:
    """Returns the document's own id on one line; empty unless it is a string or a number."""
    identity = row.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        return ""
    return " ".join(_SURROGATES.sub("\ufffd", str(identity)).split())
