"""Small WET files, and reading a file with its report checked."""

import base64
import gzip
import hashlib
import lzma
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hvcod.tasks.commoncrawl.reading.document import Document, ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zstd_with_checksum(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lambda data: lzma.compress(data, preset=1),
    ".zst": zstd_with_checksum,
}
# Random words, so that a compressed member is long enough to be damaged in many places.
_random = random.Random(7)
TEXTS = [
    f"Page {number}\n" + " ".join(f"{_random.getrandbits(40):x}" for _ in range(60)) + "\nEnd ü\n"
    for number in range(6)
]
IDS = [f"urn:uuid:{number:032x}" for number in range(6)]


def record(text: str, identity: str, kind: str = "conversion", digest: bool = True) -> bytes:
    body = text.encode()
    sha1 = base64.b32encode(hashlib.sha1(body).digest()).decode()
    header = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        "WARC-Target-URI: http://example.org/a page",
        f"WARC-Record-ID: <{identity}>",
        *([f"WARC-Block-Digest: sha1:{sha1}"] if digest else []),
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(header).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


RECORDS = [record(text, identity) for text, identity in zip(TEXTS, IDS, strict=True)]


def read(path: Path, data: bytes) -> tuple[list[Document], ReadReport]:
    path.write_bytes(data)
    report = ReadReport()
    documents = list(read_documents(Source(str(path), path.name), report))
    assert report.bytes_read == len(data)
    assert report.documents == len(documents)
    assert sum(report.reasons.values()) == report.damaged
    return documents, report


def read_ids(path: Path, data: bytes) -> list[str]:
    return [document.id for document in read(path, data)[0]]


def without(lost: int, every: Sequence[str] = IDS) -> list[str]:
    return [*every[:lost], *every[lost + 1 :]]
