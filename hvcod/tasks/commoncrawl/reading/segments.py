"""Lines and blocks of decompressed data that damage has divided into segments."""

from collections.abc import Iterator

from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.reading.compression import Gap, Mark, Piece

MAX_RECORD_BYTES = 64 * 1024**2
"""Longest record or line that is read; longer ones are skipped and counted as damaged."""


class DamagedError(Exception):
    """Raised for a record or a line that cannot be used; the message goes to the report.

    Attributes:
        detail: What is true of this one alone, for an example in the report.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


class SegmentReader:
    """A buffered reader whose data end at every gap, until `next_segment` goes on after it.

    If a format starts a new record with every member, a segment also ends there, so that a record
    with a wrong length cannot reach into the next one.

    Damage is counted once: a gap right after a damaged record, a record that a gap cuts, and the
    rest of a record after a gap are the same damaged place as the gap.

    `record_start` are the first bytes of a member that begins with a new record, empty for formats
    whose records have nothing to do with members.
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
        self._behind_gap = False  # it began after one, and no record was seen since
        self._clean = True  # its last record was not damaged

    def next_segment(self) -> bool:
        """Goes on after a gap or a member's end; returns False if there is nothing more."""
        while not self.finished:
            self._behind_gap, self._clean = self._cut, True
            self._ended = self._cut = False
            self._buffer, self._at = b"", 0
            if self._pull():
                return True
        return False

    def read(self, size: int) -> bytes:
        """Returns at most ``size`` bytes, possibly fewer; none at the end of the segment."""
        if self._at == len(self._buffer) and not self._pull():
            return b""
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def readline(self, limit: int = MAX_RECORD_BYTES) -> bytes:
        """Returns bytes up to the end of the line or the segment, at most ``limit`` bytes."""
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
        """Returns what `read` would, and leaves it there."""
        data = self.read(size)
        self._at -= len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Puts bytes back, to be read next."""
        self._buffer, self._at = data + self._buffer[self._at :], 0

    def good(self, replaced: bool) -> None:
        """Counts a good document; ``replaced`` if some of its bytes were."""
        self.report.documents += 1
        self.report.replaced += replaced
        self._clean, self._behind_gap = True, False

    def damaged(
        self, position: str, reason: str, truncated: bool = False, detail: str = ""
    ) -> None:
        """Counts a damaged record; ``truncated`` if the source ended before the record did."""
        if not (self._cut or self._behind_gap):
            self.report.damage(self.source, position, reason, truncated, detail)
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
    """Drops the member ends that no new record follows."""
    held = False
    for piece in pieces:
        if isinstance(piece, Mark):
            held = bool(record_start)
            continue
        if held and isinstance(piece, bytes) and piece.startswith(record_start):
            yield Mark.MEMBER_END
        held = False
        yield piece
