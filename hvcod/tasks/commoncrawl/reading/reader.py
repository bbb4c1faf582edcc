"""Reading documents from WET, JSON lines, Parquet and plain text, behind damage, too.

The compression is recognised by the first bytes, and by the name where those are damaged. Sources
of kinds that are no text are recognised, too, and count as damaged. The format: a source that
begins with ``WARC/``, or is named ``.wet`` or ``.warc``, is WET; then the name decides (``.jsonl
.ndjson .json``, ``.txt .text``); without such a name, a source that begins with ``{`` is JSON
lines, any other one plain text. Sources are read as streams, and one record at a time is held in
memory; Parquet must be a file.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from hvcod.tasks.commoncrawl.reading.document import DEFAULT_FIELDS, Document, Fields, ReadReport
from hvcod.tasks.commoncrawl.reading.json_lines import read_json_lines
from hvcod.tasks.commoncrawl.reading.parquet import PARQUET_START, read_parquet
from hvcod.tasks.commoncrawl.reading.plain_text import read_plain_text
from hvcod.tasks.commoncrawl.reading.segments import SegmentReader
from hvcod.tasks.commoncrawl.reading.sources import (
    JSON_LINES_NAMES,
    TEXT_NAMES,
    WET_NAMES,
    Source,
    plain_name,
)
from hvcod.tasks.commoncrawl.reading.wet import RECORD_START, read_wet
from hvcod.tasks.reading.compression import Piece, codec_by_content, codec_by_name, decompress
from hvcod.tasks.reading.kinds import foreign_kind

_P = TypeVar("_P", bytes, Piece)
Format = Callable[[SegmentReader], Iterator[Document]]

_PEEK_BYTES = 4096
_BINARY_SHARE = 0.05
_NOT_IN_TEXT = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))
_OTHER_NAMES = {
    **dict.fromkeys((".csv", ".tsv"), "a table: write its text as JSON lines first"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "an HTML page, not text"),
}
_JSON_ARRAY = re.compile(rb"\[\s*\{")
_JSON_OVER_LINES = re.compile(rb"\{[ \t]*\r?\n\s*\"")


def read_documents(
    source: Source, report: ReadReport, fields: Fields = DEFAULT_FIELDS
) -> Iterator[Document]:
    """Yields the good documents of a source in their order, and counts them and the damaged ones.

    Raises:
        HvcodError: The file or the server cannot be read at all.
    """
    seen, before = report.documents + report.damaged, report.bytes_read
    head, raw = _peek(_counted(source.chunks(), report))
    if head.startswith(PARQUET_START) and source.path:
        report.bytes_read = before + (source.size or 0)
        reader = SegmentReader(iter(()), source.name, report)
        yield from read_parquet(source.path, reader, fields)
        return
    unfit, codec = foreign_kind(head), codec_by_content(head)
    if codec is None and not unfit and _is_binary(head):
        codec = codec_by_name(source.name)
    head, pieces = _peek(decompress(raw, codec) if codec else raw)
    read = _format(source.name, head)
    if unfit := unfit or _unfit(source.name, head, read):
        report.damage(source.name, "whole source", unfit)
        return
    record_start = RECORD_START if read is read_wet else b""
    reader = SegmentReader(pieces, source.name, report, record_start)
    yield from read_json_lines(reader, fields) if read is read_json_lines else read(reader)
    if report.documents + report.damaged == seen:
        report.damage(source.name, "whole source", "no document in it")


def _counted(chunks: Iterator[bytes], report: ReadReport) -> Iterator[bytes]:
    for chunk in chunks:
        report.bytes_read += len(chunk)
        yield chunk


def _peek(pieces: Iterator[_P]) -> tuple[bytes, Iterator[_P]]:
    """Returns the first bytes of a stream, and the whole stream again."""
    taken: list[_P] = []
    head = b""
    for piece in pieces:
        taken.append(piece)
        if isinstance(piece, bytes):
            head += piece
        if len(head) >= _PEEK_BYTES:
            break
    return head[:_PEEK_BYTES], itertools.chain(taken, pieces)


def _format(name: str, head: bytes) -> Format:
    plain, start = plain_name(name), head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(RECORD_START) or plain.endswith((*WET_NAMES, ".warc")):
        return read_wet
    if plain.endswith(JSON_LINES_NAMES):
        return read_json_lines
    if start.startswith(b"{") and not plain.endswith(TEXT_NAMES):
        return read_json_lines
    return read_plain_text


def _is_binary(head: bytes) -> bool:
    control = len(head) - len(head.translate(None, _NOT_IN_TEXT))
    return control > _BINARY_SHARE * len(head)


def _unfit(name: str, head: bytes, read: Format) -> str:
    """Says why a source cannot hold documents at all; empty if it can."""
    if kind := foreign_kind(head):
        return kind
    plain, start = plain_name(name), head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not plain.endswith(TEXT_NAMES) and _JSON_ARRAY.match(start):
        return "a JSON array, not JSON lines: turn it into lines first, for example by jq -c '.[]'"
    if read is read_json_lines and _JSON_OVER_LINES.match(start):
        return "JSON objects over several lines: give each a line first, for example with jq -c ."
    if read is not read_plain_text:
        return ""
    if _is_binary(head):
        return "binary data, not text"
    return next((kind for end, kind in _OTHER_NAMES.items() if plain.endswith(end)), "")
