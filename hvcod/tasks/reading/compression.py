"""Decompressing gzip, bzip2, xz and zstd piece by piece; after damage at the next member.

A file may hold several members (gzip), streams (bzip2, xz) or frames (zstd) in a row; Common Crawl
writes one gzip member per record. Output comes in small pieces, so a file that expands to
terabytes costs time but no memory, and little is lost before a damaged place.
"""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

OUTPUT_BYTES = 32 * 1024
"""The largest number of bytes of one piece of output."""

LOOK_BACK_BYTES = 64 * 1024
"""Input kept for the search for the next member, as damage shows some bytes after it happened."""

LONGEST_MAGIC = 10
"""Bytes by which the beginning of a member is known, at most."""

XZ_MEMORY_BYTES = 512 * 1024**2
"""The most memory that an xz stream may ask for; ``xz -9`` asks for 65 MiB."""


class _Decompressor(Protocol):
    """The interface that the libraries' decompressors of one member share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipMember:
    """Gives zlib's decompressor the interface that the others have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._pending = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._inner.decompress(self._pending + data, max_length)
        self._pending = self._inner.unconsumed_tail
        return output


@dataclass(frozen=True)
class Codec:
    """One kind of compression: how it is recognised and how a member is decompressed.

    Attributes:
        name: Its name.
        magic: The first bytes of a member with data.
        suffixes: Ends of the names of its files.
        new: Returns a decompressor of one member.
        error: The exception for damaged data.
        others: The first bytes of members without data.
    """

    name: str
    magic: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    new: Callable[[], _Decompressor]
    error: type[Exception]
    others: tuple[bytes, ...] = ()


CODECS = (
    Codec("gzip", re.compile(rb"\x1f\x8b\x08"), (".gz", ".gzip"), _GzipMember, zlib.error),
    # The second half begins the first block, or the end of an empty stream.
    Codec(
        "bzip2",
        re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
        (".bz2", ".bz"),
        bz2.BZ2Decompressor,
        OSError,
    ),
    Codec(
        "xz",
        re.compile(rb"\xfd7zXZ\x00"),
        (".xz",),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES),
        lzma.LZMAError,
    ),
    Codec(
        "zstd",
        re.compile(rb"\x28\xb5\x2f\xfd"),
        (".zst", ".zstd"),
        zstd.ZstdDecompressor,
        zstd.ZstdError,
        # Skippable frames, which pzstd and some archives of web pages begin with.
        others=tuple(bytes((byte, 0x2A, 0x4D, 0x18)) for byte in range(0x50, 0x60)),
    ),
)


_UNSUPPORTED = {
    "Memory usage limit": f"a reader needs more than {XZ_MEMORY_BYTES // 2**20} MiB of memory: "
    "compress the file again with xz -9 or lower",
    "too much memory": "its window is larger than 128 MiB: decompress the file with "
    "zstd -d --long=31, and compress it again with zstd --long=27 or without --long",
    "Dictionary mismatch": "it was compressed with a dictionary: decompress the file with "
    "zstd -d -D DICTIONARY first",
}


def unsupported(reason: str) -> str:
    """Returns what to do with whole data that need another reader, by a library's reason.

    It is empty for damaged data.
    """
    return next((advice for cause, advice in _UNSUPPORTED.items() if cause in reason), "")


class Mark(Enum):
    """A mark between two pieces of output."""

    MEMBER_END = 1


@dataclass(frozen=True)
class Gap:
    """A place where output is missing.

    Attributes:
        position: The byte at which the member began.
        reason: What is wrong; where a reader can be changed or the file converted, how.
        truncated: Whether the file ended.
        unsupported: Whether the data are whole and need another reader.
    """

    position: int
    reason: str
    truncated: bool
    unsupported: bool = False


Piece = bytes | Mark | Gap


def codec_by_content(head: bytes) -> Codec | None:
    """Returns the codec whose members begin like this, if any."""
    return next(
        (c for c in CODECS if c.magic.match(head) or head.startswith(c.others)),
        None,
    )


def codec_by_name(name: str) -> Codec | None:
    """Returns the codec whose files are named like this, an address's query aside, if any."""
    bare = name.partition("?")[0].lower()
    return next((codec for codec in CODECS if bare.endswith(codec.suffixes)), None)


def decompress(raw: Iterator[bytes], codec: Codec) -> Iterator[Piece]:
    """Yields the decompressed bytes, a mark after every member, and a gap for every damage.

    `raw` are the compressed bytes in chunks of any size.
    """
    return _Members(raw, codec).pieces()


class _Members:
    """Walks over the members of one compressed file."""

    def __init__(self, raw: Iterator[bytes], codec: Codec) -> None:
        self._raw, self._codec = raw, codec
        self._data = b""  # read and not yet given to a decompressor
        self._read = 0  # bytes read in all
        self._given = b""  # the last bytes given to the decompressor of the present member
        self._whole = True  # they begin where the member begins

    def pieces(self) -> Iterator[Piece]:
        seeking = False  # the previous member was damaged; this one may not really begin here
        while self._more_than_padding():
            start = self._read - len(self._data)
            try:
                for piece in self._member():
                    seeking = False
                    yield piece
                seeking = False
                yield Mark.MEMBER_END
            except (self._codec.error, EOFError) as error:
                if not seeking:
                    yield self._gap(start, error)
                seeking = True
                if not self._next_member():
                    return

    def _member(self) -> Iterator[bytes]:
        decompressor = self._codec.new()
        self._given, self._whole = b"", True
        while not decompressor.eof:
            data = self._take() if decompressor.needs_input else b""
            output = decompressor.decompress(data, OUTPUT_BYTES)
            if output:
                yield output
        self._data = decompressor.unused_data

    def _take(self) -> bytes:
        if not self._data and not self._fill():
            raise EOFError("cut off")
        data, self._data = self._data, b""
        self._given += data
        if len(self._given) > LOOK_BACK_BYTES:
            self._given, self._whole = self._given[-LOOK_BACK_BYTES:], False
        return data

    def _fill(self) -> bool:
        chunk = next(self._raw, b"")
        self._read += len(chunk)
        self._data += chunk
        return bool(chunk)

    def _more_than_padding(self) -> bool:
        """Skips the zeros that may follow a member; returns False at the end of the input."""
        while True:
            self._data = self._data.lstrip(b"\0")
            if self._data or not self._fill():
                return bool(self._data)

    def _gap(self, start: int, error: Exception) -> Gap:
        truncated = isinstance(error, EOFError)
        detail = str(error).rpartition(": ")[2]  # the libraries put the cause last
        advice = unsupported(detail)
        reason = f"{self._codec.name} data: {advice or detail}"
        return Gap(start, reason, truncated, unsupported=bool(advice))

    def _next_member(self) -> bool:
        """Goes to the next position that looks like a member's beginning, also in recent input."""
        self._data = (self._given[1:] if self._whole else self._given) + self._data
        magic = self._codec.magic
        while not (found := magic.search(self._data)):
            self._data = self._data[-LONGEST_MAGIC + 1 :]
            if not self._fill():
                return False
        self._data = self._data[found.start() :]
        return True
