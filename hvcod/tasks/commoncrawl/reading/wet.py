"""WET: the text that Common Crawl extracted from its pages, in WARC ``conversion`` records.

warcio reads the records (ISO 28500) and checks their block digests. This module adds the search for
the next record after a damaged one: it looks for a line that begins a record, also among those that
a wrong Content-Length took for the damaged record's text.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any

from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecordLoader

from hvcod.errors import UsageError
from hvcod.tasks.commoncrawl.reading.document import Document, decode
from hvcod.tasks.commoncrawl.reading.segments import MAX_RECORD_BYTES, DamagedError, SegmentReader

RECORD_START = b"WARC/"
_VERSION_LINE = re.compile(rb"WARC/\d\.\d+\r?\n")
_LENGTH = re.compile("[0-9]{1,18}")
_LONGEST_SEARCHED_LINE = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_RAW_PAGES = "raw WARC (pages as the servers sent them)"
_RAW_KINDS = {
    "request": _RAW_PAGES,
    "response": _RAW_PAGES,
    "resource": _RAW_PAGES,
    "revisit": _RAW_PAGES,
    "metadata": "WAT (facts about pages, without their text)",
}
_KINDS = {*_RAW_KINDS, "warcinfo", "conversion", "continuation"}
_LOADER = ArcWarcRecordLoader()
# Pages have addresses with spaces in them; warcio would print a warning for each.
logging.getLogger("warcio.recordloader").setLevel(logging.ERROR)


def read_wet(reader: SegmentReader) -> Iterator[Document]:
    """Yields the documents of the conversion records whose digest, if there is one, is right.

    Raises:
        UsageError: The records are of a kind that WET does not hold.
    """
    number, conversions = 0, 0
    while reader.next_segment():
        sound = True
        while version := _next_record(reader, count_junk=sound):
            number += 1
            try:
                record = _record(reader, version)
                body = _body(reader, record)
            except DamagedError as damage:
                reader.damaged(f"record {number}", str(damage), truncated=reader.finished)
                sound = False
                continue
            sound = True
            if record.rec_type == "conversion":
                conversions += 1
                text, replaced = decode(body)
                reader.good(replaced)
                yield Document(_record_id(record) or f"{reader.source}#{number}", text)
            elif record.rec_type in _RAW_KINDS and not conversions:
                raise UsageError(
                    f"{reader.source}: not WET but {_RAW_KINDS[record.rec_type]}; "
                    "give the file of the same crawl whose name ends in .warc.wet.gz"
                )


def _next_record(reader: SegmentReader, count_junk: bool) -> bytes:
    """Returns the next line that begins a record; none at the segment's end."""
    at_line_start = True
    while line := reader.readline(_LONGEST_SEARCHED_LINE):
        if at_line_start and _VERSION_LINE.fullmatch(line):
            return line
        if count_junk and line.strip():
            reader.damaged("between records", "bytes that belong to no record")
            count_junk = False
        at_line_start = line.endswith(b"\n")
    return b""


def _record(reader: SegmentReader, version: bytes) -> Any:
    """Returns warcio's record behind a version line, its headers checked and its body unread."""
    try:
        record = _LOADER.parse_record_stream(
            reader, version, known_format="warc", no_record_parse=True, check_digests=True
        )
    except (ArchiveLoadFailed, EOFError, TypeError, ValueError) as error:  # hashlib: odd digests
        raise DamagedError("broken record header") from error
    if record.rec_type not in _KINDS:
        raise DamagedError("unknown record type")
    length = record.rec_headers.get_header("Content-Length", "")
    if not _LENGTH.fullmatch(length):
        raise DamagedError("no valid Content-Length")
    if record.length > MAX_RECORD_BYTES:
        raise DamagedError(f"longer than {MAX_RECORD_BYTES} bytes")
    return record


def _body(reader: SegmentReader, record: Any) -> bytes:
    """Reads the bytes that Content-Length names; puts all of them back if they are wrong."""
    parts: list[bytes] = []
    try:
        while part := record.raw_stream.read(_CHUNK_BYTES):
            parts.append(part)
    except (ValueError, TypeError) as error:  # warcio could not make sense of the digest
        raise DamagedError("no valid digest") from error
    body = b"".join(parts)
    if problem := _problem(reader, record, len(body)):
        reader.unread(body)
        raise DamagedError(problem)
    return body


def _problem(reader: SegmentReader, record: Any, length: int) -> str:
    if length < record.length:
        return "shorter than its Content-Length"
    checker = record.digest_checker
    if any("block digest" in problem for problem in checker.problems):
        return "the text does not have the digest of its header"
    if checker.passed is None and reader.peek(2).strip():
        return "longer than its Content-Length"
    return ""


def _record_id(record: Any) -> str:
    return " ".join((record.rec_headers.get_header("WARC-Record-ID") or "").strip(" <>").split())
