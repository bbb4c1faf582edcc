"""Reading lines and blocks from decompressed pieces that damage has torn into segments."""

from collections.abc import Iterator

from hvcod.tasks.commoncrawl.reading.report import ReadReport
from hvcod.tasks.reading.compression import Gap, Mark, Piece

MAX_RECORD_BYTES = 64 * 1024**2
"""Longest record or line that is read; longer ones are skipped and counted as damaged."""


class DamagedError(Exception):
    """A record or a line that cannot be used; the message is the reason for the report."""


class SegmentReader:
    """A buffered reader whose data end at every gap, until `next_segment` goes on behind it.

    Where a format starts a new record with every member, a segment also ends there, so that a
    record with a wrong length cannot reach into the next one.

    It counts damage, and counts it once: a gap right behind a damaged record, a record that a gap
    cut, and what is left of a record behind a gap are the same damaged place as the gap.

    Args:
        pieces: Decompressed bytes, marks and gaps.
        source: Name for the report.
        report: Where damage is counted.
        record_start: What a member begins with if it begins with a new record; empty for formats
            whose records do not care about members.
    """

    def __init__(
        self, pieces: Iterator[Piece], source: str, report: ReadReport, record_start: bytes = b""
    ) -> None:
        self.source, self.report = source, report
        self._pieces = _segment_ends(pieces, record_start)
        self._buffer, self._at = b"", 0
        self.finished = False  # all pieces of the source were taken
        self._ended = True  # all pieces of this segment were taken
        self._cut = False  # this segment ended in a gap
        self._behind_gap = False  # it began behind one, and no record was seen since
        self._clean = True  # its last record was not damaged

    def next_segment(self) -> bool:
        """Goes on behind a gap or a member's end; false if there is nothing more."""
        while not self.finished:
            self._behind_gap, self._clean = self._cut, True
            self._ended = self._cut = False
            self._buffer, self._at = b"", 0
            if self._pull():
                return True
        return False

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, possibly fewer; nothing at the end of the segment."""
        if self._at == len(self._buffer) and not self._pull():
            return b""
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def readline(self, limit: int = MAX_RECORD_BYTES) -> bytes:
        """Up to the end of the line, of the segment, or ``limit`` bytes, whichever comes first."""
        parts: list[bytes] = []
        length = 0
        while length < limit and (self._at < len(self._buffer) or self._pull()):
            stop = self._at + limit - length
            end = self._buffer.find(b"\n", self._at, stop) + 1
            parts.append(self._buffer[self._at : end or stop])
            self._at += len(parts[-1])
            length += len(parts[-1])
            if end:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def peek(self, size: int) -> bytes:
        """What `read` would return, left in place."""
        data = self.read(size)
        self._at -= len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Puts bytes back in front of what is read next."""
        self._buffer, self._at = data + self._buffer[self._at :], 0

    def good(self, replaced: bool) -> None:
        """Counts a good document, and whether some of its bytes had to be replaced."""
        self.report.documents += 1
        self.report.replaced += replaced
        self._clean, self._behind_gap = True, False

    def damaged(self, position: str, reason: str, truncated: bool = False) -> None:
        """Counts a damaged record; ``truncated`` if the source ended before the record did."""
        if not (self._cut or self._behind_gap):
            self.report.damage(self.source, position, reason, truncated)
        self._clean = self._behind_gap = False

    def _pull(self) -> bool:
        if self._ended:
            return False
        piece = next(self._pieces, None)
        if isinstance(piece, bytes):
            self._buffer, self._at = self._buffer[self._at :] + piece, 0
            return True
        self._ended, self.finished = True, piece is None
        if isinstance(piece, Gap):
            self._cut = True
            if self._clean:
                position = f"member at byte {piece.position}"
                self.report.damage(self.source, position, piece.reason, piece.truncated)
        return False


def _segment_ends(pieces: Iterator[Piece], record_start: bytes) -> Iterator[Piece]:
    """Leaves only those member ends that a new record follows."""
    held = False
    for piece in pieces:
        if isinstance(piece, Mark):
            held = bool(record_start)
            continue
        if held and isinstance(piece, bytes) and piece.startswith(record_start):
            yield Mark.MEMBER_END
        held = False
        yield piece
