"""WET: the text that Common Crawl extracted from its pages, in WARC ``conversion`` records.

warcio reads the records (ISO 28500). This module adds the search for the next record after a
damaged one: it looks for a line that begins a record, also among those that a wrong Content-Length
took for the damaged record's text. It checks block digests in each of the encodings in use; warcio
takes a digest that it cannot check, or an MD5 in hexadecimal digits, for a wrong one.
"""

import base64
import contextlib
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecordLoader

from hvcod.tasks.commoncrawl.reading.document import Document, decode
from hvcod.tasks.commoncrawl.reading.segments import MAX_RECORD_BYTES, DamagedError, SegmentReader

RECORD_START = b"WARC/"
_VERSION_LINE = re.compile(rb"WARC/\d\.\d+\r?\n")
_LENGTH = re.compile("[0-9]{1,18}")
_LONGEST_SEARCHED_LINE = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_PAGES = ("request", "response", "resource", "revisit")
_KINDS = {*_PAGES, "metadata", "warcinfo", "conversion", "continuation"}
_LABEL = re.compile("[a-z0-9_-]{1,20}")
_LOADER = ArcWarcRecordLoader()
# Pages have addresses with spaces in them; warcio would print a warning for each.
logging.getLogger("warcio.recordloader").setLevel(logging.ERROR)


def read_wet(reader: SegmentReader) -> Iterator[Document]:
    """Yields the documents of the conversion records whose digest is not wrong.

    Records of other kinds are passed over. A source of nothing else counts as damaged.
    """
    number, kinds = 0, Counter[str]()
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
            kinds[record.rec_type] += 1
            if record.rec_type == "conversion":
                text, replaced = decode(body)
                reader.good(replaced)
                yield Document(_record_id(record) or f"{reader.source}#{number}", text)
    if not kinds["conversion"] and (other := _other_content(kinds)):
        reader.report.damage(reader.source, "whole source", other)


def _other_content(kinds: Mapping[str, int]) -> str:
    """Says what a file without text holds instead; empty if it holds nothing."""
    if any(kinds[kind] for kind in _PAGES):
        content = "raw WARC (pages as the servers sent them)"
    elif kinds["metadata"]:
        content = "WAT (facts about pages, without their text)"
    else:
        return ""
    return f"not WET but {content}: give the file of the same crawl named .warc.wet.gz"


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
            reader, version, known_format="warc", no_record_parse=True
        )
    except (ArchiveLoadFailed, EOFError, TypeError, ValueError) as error:
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
    while part := record.raw_stream.read(_CHUNK_BYTES):
        parts.append(part)
    body = b"".join(parts)
    if problem := _problem(reader, record, body):
        reader.unread(body)
        raise DamagedError(problem)
    return body


def _problem(reader: SegmentReader, record: Any, body: bytes) -> str:
    if len(body) < record.length:
        return "shorter than its Content-Length"
    label = (record.rec_headers.get_header("WARC-Block-Digest") or "").strip()
    checked = is_digest_right(label, body) if label and record.rec_type != "revisit" else None
    if checked is False:
        return "the text does not have the digest of its header"
    if checked is None and reader.peek(2).strip():
        return "longer than its Content-Length"
    if checked is None and label and record.rec_type == "conversion":
        algorithm = label.partition(":")[0].lower()
        reader.report.unchecked[algorithm if _LABEL.fullmatch(algorithm) else "other"] += 1
    return ""


def is_digest_right(label: str, body: bytes) -> bool | None:
    """Compares a digest such as ``sha1:QPZX...`` with a record's bytes; None if that is impossible.

    It may be in base 16, 32 or 64, with or without padding. Impossible are algorithms that this
    Python does not have and digests of another length than theirs.

    Raises:
        DamagedError: The digest is in none of the encodings.
    """
    algorithm, _, value = label.partition(":")
    try:
        digest = hashlib.new(algorithm.lower(), body, usedforsecurity=False).digest()
    except (ValueError, TypeError):  # unknown; of a length of one's choice, such as SHAKE
        return None
    values = _decoded(value.strip().rstrip("="))
    if not values:
        raise DamagedError("no valid digest")
    if digest in values:
        return True
    return False if len(digest) in map(len, values) else None


def _decoded(value: str) -> list[bytes]:
    """Returns the bytes that text without padding may stand for, in each encoding that it fits."""
    values = []
    for decoding in (bytes.fromhex, _base32, _base64):
        with contextlib.suppress(ValueError):
            values.append(decoding(value))
    return values


def _base32(value: str) -> bytes:
    return base64.b32decode(value + "=" * (-len(value) % 8), casefold=True)


def _base64(value: str) -> bytes:
    padded = value + "=" * (-len(value) % 4)
    return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)


def _record_id(record: Any) -> str:
    return " ".join((record.rec_headers.get_header("WARC-Record-ID") or "").strip(" <>").split())
