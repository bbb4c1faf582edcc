"""Reading WET files, whole and damaged."""

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tasks.commoncrawl.reading.wet_files import (
    COMPRESSIONS,
    IDS,
    RECORDS,
    TEXTS,
    read,
    read_ids,
    record,
    without,
)

from hvcod.tasks.commoncrawl.reading import wet
from hvcod.tasks.commoncrawl.reading.document import ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import expand_inputs


def test_the_real_wet_file(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "wet" / "cc-2020-50.warc.wet.gz")]).sources
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
def test_raw_warc_is_told_by_name(real_data: Path, name: str) -> None:
    [source] = expand_inputs([str(real_data / "wet" / name)]).sources
    report = ReadReport()
    assert list(read_documents(source, report)) == []
    assert report.examples[-1].startswith(f"{name}, whole source: not WET but raw WARC")


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


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (["metadata", "metadata"], "not WET but WAT"),
        (["revisit", "metadata"], "not WET but raw WARC"),
        (["warcinfo", "request", "response"], "not WET but raw WARC"),
    ],
)
def test_a_source_without_text_is_told(tmp_path: Path, kinds: list[str], reason: str) -> None:
    data = b"".join(gzip.compress(record("{}", f"urn:{kind}", kind)) for kind in kinds)
    documents, report = read(tmp_path / "x.warc.gz", data)
    assert documents == []
    assert report.examples[0].startswith(f"x.warc.gz, whole source: {reason}")
    assert report.damaged == 1


@pytest.mark.parametrize("kind", ["metadata", "revisit", "response", "warcinfo"])
def test_records_of_other_kinds_may_come_first(tmp_path: Path, kind: str) -> None:
    other = [record("{}", f"urn:{number}", kind) for number in range(3)]
    data = b"".join(map(gzip.compress, [*other, *RECORDS, *other]))
    documents, report = read(tmp_path / "x.warc.wet.gz", data)
    assert [document.id for document in documents] == IDS
    assert report.damaged == 0


BODY = TEXTS[0].encode()


def labels(algorithm: str) -> dict[str, str]:
    """The right digest in all encodings that are in use."""
    digest = hashlib.new(algorithm, BODY).digest()
    return {
        "base 16": digest.hex(),
        "upper case": digest.hex().upper(),
        "base 32": base64.b32encode(digest).decode(),
        "base 32 without padding": base64.b32encode(digest).decode().rstrip("="),
        "base 64": base64.b64encode(digest).decode(),
        "of addresses": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256"])
def test_digests_in_every_encoding(algorithm: str) -> None:
    for encoding, value in labels(algorithm).items():
        assert wet.is_digest_right(f"{algorithm}:{value}", BODY) is True, encoding
        assert wet.is_digest_right(f"{algorithm.upper()}:{value}", BODY) is True, encoding
        assert wet.is_digest_right(f"{algorithm}:{value}", BODY + b".") is False, encoding


@pytest.mark.parametrize(
    ("label", "algorithm"),
    [
        ("crc9:ABCD", "crc9"),
        ("blake3:" + "ab" * 32, "blake3"),
        ("shake_128:" + "ab" * 32, "shake_128"),
        ("blake2b:" + "ab" * 32, "blake2b"),  # of half its length
        ("\x1b]0;title", "other"),
    ],
)
def test_a_digest_that_cannot_be_checked_is_counted(
    tmp_path: Path, label: str, algorithm: str
) -> None:
    pieces = [re.sub(b"sha1:.*?(?=\r)", label.encode(), piece) for piece in RECORDS]
    documents, report = read(tmp_path / "x.warc.wet", b"".join(pieces))
    assert [document.id for document in documents] == IDS
    assert report.unchecked == {algorithm: 6}
    assert report.damaged == 0
