"""Files of other kinds than text, recognised by their first bytes: each with what to do instead."""

import re

_WHOLE_PAGES = "whole pages: give the text of the crawl, whose names end in .warc.wet.gz"
_COLUMNS = "write it as lines of text first, for example with pandas"
_UNPACK = "unpack it first"

_TAR = re.compile(rb".{257}ustar(\x0000|  \0)", re.DOTALL)
_KINDS: tuple[tuple[bytes, str], ...] = (
    (rb"version https?://[\w./-]*git-lfs|version https?://hawser\.", "a pointer of Git LFS, not "
     "the file itself: fetch that with git lfs pull"),
    (rb"(\.\./)*(\.git)?/annex/objects/", "a pointer of git-annex, not the file itself: fetch that "
     "with git annex get"),
    (rb"filedesc://", f"an ARC file of {_WHOLE_PAGES}"),
    (rb"%PDF-", "a PDF file: turn it into text first, for example with pdftotext"),
    (rb"%!PS", "a PostScript file: turn it into text first, for example with ps2ascii"),
    (rb"\{\\rtf", "an RTF file: turn it into text first"),
    (rb"(?i:(<!--.*?-->\s*)*<(!doctype\s+html|html)\b)", "an HTML page, not text"),
    (rb"<\?xml\b|<mediawiki\b", "an XML file: take the text out of it first (of a Wikipedia dump, "
     "for example with WikiExtractor --json)"),
    (rb'<doc id="[^"]*" (revid="[^"]*" )?url=', "pages of WikiExtractor: make them with "
     "its option --json"),
    (rb"PAR1", "a Parquet file: for text, give it as a file that is not compressed; for rows, "
     "write them as CSV first"),
    (rb"ARROW1\0|FEA1\0|\xff{4}.{4}\x10\0\0\0", f"an Arrow file: {_COLUMNS}"),
    (rb"Obj\x01", f"an Avro file: {_COLUMNS}"),
    (rb"\x89HDF\r\n", f"an HDF5 file: {_COLUMNS}"),
    (rb"SQLite format 3\0", f"an SQLite database: {_COLUMNS}"),
    (rb"PK(\x03\x04|\x05\x06)", f"a zip file (.zip, .docx, .epub, .xlsx): {_UNPACK}"),
    (rb"7z\xbc\xaf\x27\x1c", f"a 7z file: {_UNPACK}"),
    (rb"Rar!\x1a\x07", f"a RAR file: {_UNPACK}"),
    (_TAR.pattern, f"a tar file: {_UNPACK}"),
    (rb"\x04\x22\x4d\x18", f"compressed with lz4: {_UNPACK}"),
    (rb"\xff\x06\0\0sNaPpY", f"compressed with snappy: {_UNPACK}"),
    (rb"\x1f\x9d", f"compressed with compress (.Z): {_UNPACK}"),
    (rb"\x5d\x2a\x4d\x18", "zstd with a dictionary of its own, as in .warc.zst: unpack it first "
     "with a tool for that format; it mostly holds whole pages, not their text"),
    (rb"\xff\xfe|\xfe\xff|\0\0\xfe\xff", "text in UTF-16 or UTF-32: turn it into UTF-8 first, for "
     "example with iconv -f UTF-16 -t UTF-8"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(start, re.DOTALL), text) for start, text in _KINDS)


def is_tar(head: bytes) -> bool:
    """Tells whether a file that begins like this is a tar file, not compressed."""
    return _TAR.match(head) is not None


def pointer_kind(head: bytes) -> str:
    """Returns which pointer a file is instead of its content, with advice; empty if it is none."""
    kind = foreign_kind(head)
    return kind if kind.startswith("a pointer") else ""


def foreign_kind(head: bytes) -> str:
    """Returns the kind of a file without text, with advice; empty for any other file.

    `head` are its first bytes, some thousand of them, before or after decompression.
    """
    start = head.removeprefix(b"\xef\xbb\xbf")
    for text in (start, start.lstrip()):
        for pattern, kind in _PATTERNS:
            if pattern.match(text):
                return kind
    return ""
