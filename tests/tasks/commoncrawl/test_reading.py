"""Reading WET, JSON lines and plain text, whole and damaged, plain and compressed."""

import base64
import gzip
import hashlib
import json
import lzma
import random
import re
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.commoncrawl import json_lines, plain_text, segments, wet
from hvcod.tasks.commoncrawl.reading import (
    Document,
    ReadReport,
    Source,
    expand_inputs,
    read_documents,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zstd_with_checksum(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
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


# --- real files ---


def test_the_real_wet_file(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "wet" / "cc-2020-50.warc.wet.gz")])
    report = ReadReport()
    documents = list(read_documents(source, report))
    assert len(documents) == report.documents == 317
    assert report.damaged == report.replaced == 0
    assert documents[0].id == "urn:uuid:55e6ee86-59f1-44b5-811d-1874ff4d5b58"
    assert len({document.id for document in documents}) == 317
    raw = gzip.decompress(Path(source.location).read_bytes())
    bodies = re.split(rb"(?=WARC/1\.0\r\nWARC-Type: )", raw)[2:]
    texts = [body.partition(b"\r\n\r\n")[2][:-4].decode() for body in bodies]
    assert [document.text for document in documents] == texts


@pytest.mark.parametrize("suffix", [".xz", ".zst", ""])
def test_a_wet_file_of_one_member_is_read_alike(
    real_data: Path, tmp_path: Path, suffix: str
) -> None:
    raw = (real_data / "wet" / "cc-2020-50.warc.wet.gz").read_bytes()
    path = tmp_path / f"x.warc.wet{suffix}"
    documents, report = read(path, COMPRESSIONS[suffix](gzip.decompress(raw)))
    assert documents == read(tmp_path / "y.warc.wet.gz", raw)[0]
    assert report.damaged == 0


@pytest.mark.parametrize("name", ["cc-2024-22.warc.gz", "wget-22pages.warc.gz"])
def test_raw_warc_is_refused_by_name(real_data: Path, name: str) -> None:
    [source] = expand_inputs([str(real_data / "wet" / name)])
    with pytest.raises(UsageError, match=rf"{name}: not WET but raw WARC"):
        list(read_documents(source, ReadReport()))


def test_real_json_lines(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "text" / "commoncrawl-en-20docs.jsonl.gz")])
    report = ReadReport()
    documents = list(read_documents(source, report))
    assert (report.documents, report.damaged) == (20, 0)
    lines = gzip.decompress(Path(source.location).read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(d.id, d.text) for d in documents] == [(row["id"], row["text"]) for row in rows]


def test_real_plain_text(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "text" / "wikitext-103-valid.txt.gz")])
    report = ReadReport()
    documents = list(read_documents(source, report))
    ids = [document.id for document in documents]
    assert ids == ["wikitext-103-valid.txt.gz#1", "wikitext-103-valid.txt.gz#2"]
    assert all(document.hard_wrapped for document in documents)
    whole = gzip.decompress(Path(source.location).read_bytes()).decode()
    assert "".join(document.text for document in documents) == whole


def test_every_cut_of_the_real_file_keeps_what_lies_before(real_data: Path, tmp_path: Path) -> None:
    raw = (real_data / "wet" / "cc-2020-50.warc.wet.gz").read_bytes()[:40_000]
    every = read_ids(tmp_path / "x.warc.wet.gz", raw)
    for end in range(len(raw) - 1, 2000, -997):
        documents, report = read(tmp_path / "x.warc.wet.gz", raw[:end])
        ids = [document.id for document in documents]
        assert ids == every[: len(ids)]
        assert report.damaged == 1
        assert report.truncated == ["x.warc.wet.gz"]


# --- WET, damaged ---


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_member_costs_only_itself(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    members = [COMPRESSIONS[suffix](piece) for piece in RECORDS]
    lost = data.draw(st.integers(0, 5))
    at = data.draw(st.integers(0, len(members[lost]) - 1))
    bad = bytearray(members[lost])
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    documents, report = read(
        tmp_path / f"x.warc.wet{suffix}",
        b"".join([*members[:lost], bytes(bad), *members[lost + 1 :]]),
    )
    # A flipped bit can be harmless: in a time stamp, say.
    unharmed = [document.id for document in documents] == IDS
    assert unharmed or [document.id for document in documents] == without(lost)
    assert unharmed or report.damaged == 1
    assert all(document.text == TEXTS[IDS.index(document.id)] for document in documents)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(end=st.integers(0, len(b"".join(map(gzip.compress, RECORDS)))))
def test_a_cut_file_keeps_the_whole_members(tmp_path: Path, end: int) -> None:
    members = [gzip.compress(piece) for piece in RECORDS]
    ends = [sum(map(len, members[: i + 1])) for i in range(6)]
    documents, report = read(tmp_path / "x.warc.wet.gz", b"".join(members)[:end])
    whole = sum(stop <= end for stop in ends)
    # In front of a cut checksum the last record may be complete, and its digest right.
    assert [document.id for document in documents] in (IDS[:whole], IDS[: whole + 1])
    # A cut between two members leaves no trace, one that left nothing is an empty source.
    assert report.damaged == (end not in ends)
    assert report.truncated == ([] if end in (0, *ends) else ["x.warc.wet.gz"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(b"".join(RECORDS)) - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_in_uncompressed_wet_costs_one_record(
    tmp_path: Path, at: int, flip: int
) -> None:
    raw = bytearray(b"".join(RECORDS))
    raw[at] ^= flip
    documents, report = read(tmp_path / "x.warc.wet", bytes(raw))
    texts = [document.text for document in documents]
    assert texts == [text for text in TEXTS if text in texts]
    assert len(texts) >= 5
    if len(texts) == 5:
        assert report.damaged >= 1


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=40)), max_size=6),
    suffix=st.sampled_from(list(COMPRESSIONS)),
    kind=st.sampled_from(["warc.wet", "jsonl", "txt"]),
)
def test_no_damage_whatsoever_is_a_crash(
    tmp_path: Path, changes: list[tuple[int, bytes]], suffix: str, kind: str
) -> None:
    rows = [json.dumps({"id": i, "text": t}).encode() + b"\n" for i, t in enumerate(TEXTS)]
    pieces = RECORDS if kind == "warc.wet" else rows
    raw = bytearray(b"".join(COMPRESSIONS[suffix](piece) for piece in pieces))
    for at, bytes_there in changes:
        start = at % len(raw)
        raw[start : start + len(bytes_there)] = bytes_there
    documents, _ = read(tmp_path / f"x.{kind}{suffix}", bytes(raw))
    assert "".join(document.text for document in documents).encode()


@pytest.mark.parametrize(
    ("change", "digest"),
    # Without a digest, a byte more or less is white space that is taken for the text's.
    [(-50, True), (-1, True), (1, True), (50, True), (5000, True), (-50, False), (5000, False)],
)
@pytest.mark.parametrize("suffix", list(COMPRESSIONS))
def test_a_wrong_content_length_costs_only_its_record(
    tmp_path: Path, change: int, suffix: str, digest: bool
) -> None:
    pieces = [record(*pair, digest=digest) for pair in zip(TEXTS, IDS, strict=True)]
    length = len(TEXTS[2].encode())
    pieces[2] = pieces[2].replace(b"Length: %d" % length, b"Length: %d" % (length + change))
    documents, report = read(
        tmp_path / f"x.warc.wet{suffix}", b"".join(map(COMPRESSIONS[suffix], pieces))
    )
    assert [document.id for document in documents] == without(2)
    assert report.damaged == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Page 2", b"Pane 2", "the text does not have the digest of its header"),
        (b"Digest: sha1:", b"Digest: crc9:", "the text does not have the digest of its header"),
        (b"Digest: sha1:", b"Digest: sha1:!!", "no valid digest"),
        (b"Content-Length: ", b"Content-Length: x", "no valid Content-Length"),
        (b"Content-Length: ", b"Content-Length: -", "no valid Content-Length"),
        (b"Content-Length: ", b"Content-Langth: ", "no valid Content-Length"),
        (b"Content-Length: ", b"Content-Length: 9999999999", "longer than 67108864 bytes"),
        (b"Content-Length: ", b"Content-Length: " + b"9" * 5000, "no valid Content-Length"),
        (b"WARC-Type: con", b"WARC-Type: kon", "unknown record type"),
        (b"WARC-Type: con", b"WORC-Type: con", "unknown record type"),
        (b"WARC/1.0", b"WARC/7.0", "broken record header"),
        (b"WARC/1.0", b"WORC/1.0", "bytes that belong to no record"),
    ],
)
@pytest.mark.parametrize("suffix", list(COMPRESSIONS))
def test_each_kind_of_broken_record_is_named(
    tmp_path: Path, old: bytes, new: bytes, reason: str, suffix: str
) -> None:
    pieces = list(RECORDS)
    pieces[2] = pieces[2].replace(old, new, 1)
    documents, report = read(
        tmp_path / f"x.warc.wet{suffix}", b"".join(map(COMPRESSIONS[suffix], pieces))
    )
    assert [document.id for document in documents] == without(2)
    assert dict(report.reasons) == {reason: 1}
    assert report.examples[0].startswith(f"x.warc.wet{suffix}, ")


def test_two_records_with_wrong_digests_are_two(tmp_path: Path) -> None:
    pieces = [piece.replace(b"Page", b"Pane") if i in (1, 2) else piece
              for i, piece in enumerate(RECORDS)]  # fmt: skip
    documents, report = read(tmp_path / "x.warc.wet", b"".join(pieces))
    assert len(documents) == 4
    assert report.damaged == 2


def test_bytes_between_records_are_counted_once_and_skipped(tmp_path: Path) -> None:
    junk = b"\0\x01 noise\r\n\r\nmore noise\n" * 20
    documents, report = read(
        tmp_path / "x.warc.wet", RECORDS[0] + junk + RECORDS[1] + b"\r\n\r\n" + RECORDS[2]
    )
    assert [document.id for document in documents] == IDS[:3]
    assert dict(report.reasons) == {"bytes that belong to no record": 1}


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_empty_members_padding_and_trailing_garbage(tmp_path: Path, suffix: str) -> None:
    pack = COMPRESSIONS[suffix]
    whole = b"".join(map(pack, RECORDS))
    documents, report = read(tmp_path / f"a.warc.wet{suffix}", pack(b"") + whole + pack(b""))
    assert (len(documents), report.damaged) == (6, 0)
    documents, report = read(tmp_path / f"b.warc.wet{suffix}", whole + b"\0" * 512)
    assert (len(documents), report.damaged) == (6, 0)
    documents, report = read(tmp_path / f"c.warc.wet{suffix}", whole + b"garbage")
    assert (len(documents), report.damaged) == (6, 1)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_members_that_do_not_end_with_a_record(tmp_path: Path, suffix: str) -> None:
    raw = b"".join(RECORDS)
    packed = b"".join(COMPRESSIONS[suffix](raw[at : at + 700]) for at in range(0, len(raw), 700))
    documents, report = read(tmp_path / f"x.warc.wet{suffix}", packed)
    assert [document.text for document in documents] == TEXTS
    assert report.damaged == 0


def test_damage_late_in_a_single_member_keeps_the_records_before(tmp_path: Path) -> None:
    many = [record(TEXTS[i % 6] * 20, f"urn:{i}") for i in range(60)]
    raw = bytearray(gzip.compress(b"".join(many)))
    raw[len(raw) // 2 : len(raw) // 2 + 8] = b"\xff" * 8
    ids = read_ids(tmp_path / "x.warc.wet.gz", bytes(raw))
    assert ids == [f"urn:{i}" for i in range(len(ids))]
    assert len(ids) >= 20


def test_a_lost_first_magic_number_is_replaced_by_the_name(tmp_path: Path) -> None:
    members = [gzip.compress(piece) for piece in RECORDS]
    damaged = b"\0" * 8 + b"".join(members)[8:]
    assert read_ids(tmp_path / "x.warc.wet.gz", damaged) == IDS[1:]


def test_a_record_longer_than_the_limit_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wet, "MAX_RECORD_BYTES", 5000)
    long = record("x" * 5001, "urn:long")
    data = gzip.compress(RECORDS[0] + long + RECORDS[1])
    documents, report = read(tmp_path / "x.warc.wet.gz", data)
    assert [document.id for document in documents] == IDS[:2]
    assert dict(report.reasons) == {"longer than 5000 bytes": 1}


def test_text_that_is_no_utf8_is_kept_replaced_and_counted(tmp_path: Path) -> None:
    body = b"caf\xe9\n"
    sha1 = base64.b32encode(hashlib.sha1(body).digest())
    data = (
        b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Block-Digest: sha1:" + sha1
        + b"\r\nContent-Length: 5\r\n\r\n" + body + b"\r\n\r\n"
    )  # fmt: skip
    documents, report = read(tmp_path / "x.warc.wet", data)
    assert [(d.id, d.text) for d in documents] == [("x.warc.wet#1", "caf\ufffd\n")]
    assert (report.replaced, report.damaged) == (1, 0)


def test_wat_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not WET but WAT"):
        read(tmp_path / "x.warc.wat.gz", gzip.compress(record("{}", "urn:1", "metadata")))


# --- JSON lines ---


@pytest.mark.parametrize("suffix", list(COMPRESSIONS))
def test_broken_lines_are_counted_by_kind(tmp_path: Path, suffix: str) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "one", "id": "a b\\n c"}',
        b'{"text": "two"',
        b"",
        b'{"txt": "three"}',
        b'{"text": 4}',
        b'["five"]',
        b'{"text": "six", "id": 6}',
        b'{"text": "seven", "id": null}',
        b'{"text": "caf\xe9"}',
        b'{"text": "\\ud800 \\ud83d\\ude00", "id": "\\udfff"}',
        b"[" * 100_000,
        b'{"text": "last", "id": true}',
    ]
    documents, report = read(tmp_path / f"x.jsonl{suffix}", COMPRESSIONS[suffix](b"\n".join(lines)))
    name = f"x.jsonl{suffix}"
    assert [(document.id, document.text) for document in documents] == [
        ("a b c", "one"),
        ("6", "six"),
        (f"{name}#8", "seven"),
        (f"{name}#9", "caf\ufffd"),
        ("\ufffd", "\ufffd \U0001f600"),
        (f"{name}#12", "last"),
    ]
    assert dict(report.reasons) == {
        "broken JSON": 2,
        "no field 'text'": 1,
        "the field 'text' is no string": 1,
        "JSON that is no object": 1,
    }
    assert report.replaced == 2
    assert not any(document.hard_wrapped for document in documents)


def test_lines_across_members_and_behind_a_gap(tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "text": TEXTS[i % 6]}).encode() + b"\n" for i in range(30)]
    raw = b"".join(lines)
    members = [gzip.compress(raw[at : at + 3000]) for at in range(0, len(raw), 3000)]
    every = [str(number) for number in range(30)]
    assert read_ids(tmp_path / "x.jsonl.gz", b"".join(members)) == every
    broken = bytearray(members[2])
    broken[1000:1100] = b"\xff" * 100
    documents, report = read(
        tmp_path / "x.jsonl.gz", b"".join([*members[:2], bytes(broken), *members[3:]])
    )
    starts = [sum(map(len, lines[:i])) for i in range(31)]
    whole = [str(i) for i in range(30) if starts[i + 1] <= 6000 or starts[i] >= 9000]
    ids = [document.id for document in documents]
    assert set(whole) <= set(ids)
    assert ids == [identity for identity in every if identity in ids]
    assert report.damaged == 1


def test_a_cut_off_json_line_is_a_truncated_source(tmp_path: Path) -> None:
    documents, report = read(tmp_path / "x.jsonl", b'{"text": "one"}\n{"text": "tw')
    assert len(documents) == 1
    assert dict(report.reasons) == {"broken JSON": 1}
    assert report.truncated == ["x.jsonl"]


def test_a_line_longer_than_the_limit_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(segments.SegmentReader.readline, "__defaults__", (1000,))
    lines = [json.dumps({"id": length, "text": "x" * length}) for length in (10, 200_000, 20, 971)]
    documents, report = read(tmp_path / "x.jsonl", "\n".join(lines).encode())
    assert [document.id for document in documents] == ["10", "20", "971"]
    assert dict(report.reasons) == {"longer than 1000 bytes": 1}


# --- plain text, and what is recognised ---


def test_plain_text_is_cut_at_blank_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_text, "PART_BYTES", 100)
    monkeypatch.setattr(plain_text, "LONGEST_PART_BYTES", 400)
    paragraph = "ein ü hier\nund da\n\n"
    text = paragraph * 30 + "no blank line\n" * 60 + "é" * 700 + " " + "word " * 200
    documents, report = read(tmp_path / "x.txt", text.encode())
    assert "".join(document.text for document in documents) == text
    assert [document.id for document in documents][:2] == ["x.txt#1", "x.txt#2"]
    assert all(document.text.endswith("da\n\n") for document in documents[:4])
    assert max(len(document.text.encode()) for document in documents) < 600
    assert report.replaced == report.damaged == 0


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("noname", RECORDS[0], "urn:uuid"),
        ("noname.gz", gzip.compress(RECORDS[0]), "urn:uuid"),
        ("noname", gzip.compress(RECORDS[0]), "urn:uuid"),
        ("misnamed.txt", RECORDS[0], "urn:uuid"),
        ("misnamed.jsonl.gz", b'{"text": "not compressed", "id": "urn:uuid"}', "urn:uuid"),
        ("noname", b' {"text": "json", "id": "urn:uuid"}', "urn:uuid"),
        ("x.ndjson", b'{"text": "json", "id": "urn:uuid"}', "urn:uuid"),
        ("x.jsonl.gz?key=1", gzip.compress(b'{"text": "a", "id": "urn:uuid"}'), "urn:uuid"),
        ("x.txt", b'{"text": "this is text"}', "x.txt#1"),
        ("x.md", b"# Title\n", "x.md#1"),
    ],
)
def test_formats_are_recognised(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    [identity] = read_ids(tmp_path / name, content)
    assert identity.startswith(kind)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.warc.wet.gz", b"", "no document in it"),
        ("empty.jsonl", b"", "no document in it"),
        ("empty.txt", b"", "no document in it"),
        ("blank.txt.gz", gzip.compress(b" \n\n"), "no document in it"),
        ("info.warc.wet", record("operator: me", "urn:0", "warcinfo"), "no document in it"),
        ("picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "binary data, not text"),
        ("page", b"\n<!DOCTYPE HTML><p>Not found", "an HTML page, not text"),
    ],
)
def test_sources_without_documents_are_reported(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    documents, report = read(tmp_path / name, content)
    assert documents == []
    assert report.examples == [f"{name}, whole source: {reason}"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kind", ["warc.wet", "jsonl", "txt"])
def test_a_decompression_bomb_fills_no_memory(tmp_path: Path, suffix: str, kind: str) -> None:
    start = {"warc.wet": RECORDS[0], "jsonl": b'{"text": "a"}\n', "txt": b"a\n"}[kind]
    bomb = COMPRESSIONS[suffix](start + b" " * 100_000_000)
    path = tmp_path / f"x.{kind}{suffix}"
    path.write_bytes(bomb)
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_documents(Source(str(path), path.name), ReadReport()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 1
    limit = 3.5 * segments.MAX_RECORD_BYTES if kind == "jsonl" else 32 * 1024**2
    assert peak < limit


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for copies in (100, 1000):
        path = tmp_path / "x.warc.wet.gz"
        path.write_bytes(b"".join(map(gzip.compress, RECORDS)) * copies)
        tracemalloc.start()
        for _ in read_documents(Source(str(path), path.name), ReadReport()):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HvcodError, match="gone: cannot be read: No such file"):
        list(read_documents(Source(str(tmp_path / "gone"), "gone"), ReadReport()))


def test_reports_merge() -> None:
    one, two = ReadReport(documents=2, bytes_read=5), ReadReport(documents=3, replaced=1)
    one.damage("a", "line 1", "broken JSON")
    two.damage("b", "line 9", "broken JSON", truncated=True)
    one.merge(two)
    assert (one.documents, one.damaged, one.replaced, one.bytes_read) == (5, 2, 1, 5)
    assert one.reasons == {"broken JSON": 2}
    assert one.examples == ["a, line 1: broken JSON", "b, line 9: broken JSON"]
    assert one.truncated == ["b"]
