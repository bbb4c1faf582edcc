"""Plain text: one document a file, cut into parts at blank lines to bound the memory."""

from collections.abc import Iterator

from hvcod.tasks.commoncrawl.reading.document import Document, decode
from hvcod.tasks.commoncrawl.reading.segments import SegmentReader

PART_BYTES = 1024**2
"""A part ends at the first blank line after this many bytes,"""

LONGEST_PART_BYTES = 4 * PART_BYTES
"""or at the end of a line (of a word, in a line longer than a part) after this many."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_plain_text(reader: SegmentReader) -> Iterator[Document]:
    """Yields the parts of the file that hold more than white space; a gap also ends a part."""
    number = 0
    while reader.next_segment():
        for data in _parts(reader):
            if data.strip():
                number += 1
                text, replaced = decode(data.removeprefix(_BYTE_ORDER_MARK))
                reader.good(replaced)
                yield Document(f"{reader.source}#{number}", text, hard_wrapped=True)


def _parts(reader: SegmentReader) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    while line := _line(reader):
        lines.append(line)
        size += len(line)
        if size >= LONGEST_PART_BYTES or (size >= PART_BYTES and not line.strip()):
            yield b"".join(lines)
            lines, size = [], 0
    yield b"".join(lines)


def _line(reader: SegmentReader) -> bytes:
    """Returns the next line, or the words of a very long one that fit into a part."""
    line = reader.readline(PART_BYTES)
    if len(line) < PART_BYTES or line.endswith(b"\n"):
        return line
    end = line.rfind(b" ") + 1 or _last_character(line)
    reader.unread(line[end:])
    return line[:end]


def _last_character(data: bytes) -> int:
    """Returns where the last character of UTF-8 bytes begins, so that none is torn apart."""
    start = len(data) - 1
    while len(data) - start < 4 and data[start] & 0xC0 == 0x80:
        start -= 1
    return start
