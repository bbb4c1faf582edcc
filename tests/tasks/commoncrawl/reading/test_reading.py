"""Reading JSON lines and plain text, recognising formats, and what holds for all of them."""

import bz2
import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tasks.commoncrawl.reading.wet_files import (
    COMPRESSIONS,
    RECORDS,
    TEXTS,
    read,
    read_ids,
    record,
    zstd_with_checksum,
)

from hvcod.errors import HvcodError
from hvcod.tasks.commoncrawl.reading import json_lines, plain_text, segments
from hvcod.tasks.commoncrawl.reading.document import Fields, ReadReport
from hvcod.tasks.commoncrawl.reading.reader import read_documents
from hvcod.tasks.commoncrawl.reading.sources import Source, expand_inputs


def test_real_json_lines(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "text" / "commoncrawl-en-20docs.jsonl.gz")]).sources
    report = ReadReport()
    documents = list(read_documents(source, report))
    assert (report.documents, report.damaged) == (20, 0)
    lines = gzip.decompress(Path(source.location).read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(d.id, d.text) for d in documents] == [(row["id"], row["text"]) for row in rows]


def test_real_plain_text(real_data: Path) -> None:
    [source] = expand_inputs([str(real_data / "text" / "wikitext-103-valid.txt.gz")]).sources
    report = ReadReport()
    documents = list(read_documents(source, report))
    ids = [document.id for document in documents]
    assert ids == ["wikitext-103-valid.txt.gz#1", "wikitext-103-valid.txt.gz#2"]
    assert all(document.hard_wrapped for document in documents)
    whole = gzip.decompress(Path(source.location).read_bytes()).decode()
    assert "".join(document.text for document in documents) == whole


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
    documents, report = read(tmp_path / f"x.{kind}{suffix}", bytes(raw))
    assert all(document.text.encode() for document in documents)
    assert len(documents) == report.documents
    assert documents or report.damaged


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
        (f"{name}:6", "six"),
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


@pytest.mark.parametrize(
    ("row", "fields", "identity"),
    [
        ({"content": "T", "warc_headers": {"id": "<u>"}}, ("content", "warc_headers.id"), "<u>"),
        ({"raw_content": "T", "url": "http://a"}, ("raw_content", "url"), "http://a"),
        ({"data": {"body": {"text": "T"}}}, ("data.body.text", "id"), "x.jsonl#1"),
        ({"a.b": "T", "a": {"b": "other"}, "id": "c d"}, ("a.b", "id"), "c d"),
        ({"text": "T", "meta": {"pile_set_name": "p"}, "id": 7.5}, ("text", "id"), "x.jsonl#1"),
        ({"text": "T", "id": ["a"]}, ("text", "id"), "x.jsonl#1"),
        ({"text": "T", "id": "a", "nr": 12}, ("text", "nr"), "x.jsonl:12"),
    ],
)
def test_fields_of_other_names(
    tmp_path: Path, row: dict[str, object], fields: tuple[str, str], identity: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    report = ReadReport()
    [document] = read_documents(Source(str(path), path.name), report, Fields(*fields))
    assert (document.id, document.text) == (identity, "T")
    assert report.unnamed == ("#" in identity)


def test_a_missing_field_is_told_with_those_there_are(tmp_path: Path) -> None:
    _, report = read(
        tmp_path / "x.jsonl",
        b'{"id": 0, "content": "T", "data": {"body": "U", "n": 1}, "t\\u001bx": "U"}\n',
    )
    assert dict(report.reasons) == {"no field 'text'": 1}
    assert report.examples == [
        "x.jsonl, line 1: no field 'text' (the fields are 'content', 'data.body', 't\\x1bx')"
    ]


def test_lines_across_members_and_behind_a_gap(tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "text": TEXTS[i % 6]}).encode() + b"\n" for i in range(30)]
    raw = b"".join(lines)
    members = [gzip.compress(raw[at : at + 3000]) for at in range(0, len(raw), 3000)]
    every = [f"x.jsonl.gz:{number}" for number in range(30)]
    assert read_ids(tmp_path / "x.jsonl.gz", b"".join(members)) == every
    broken = bytearray(members[2])
    broken[1000:1100] = b"\xff" * 100
    documents, report = read(
        tmp_path / "x.jsonl.gz", b"".join([*members[:2], bytes(broken), *members[3:]])
    )
    starts = [sum(map(len, lines[:i])) for i in range(31)]
    whole = [every[i] for i in range(30) if starts[i + 1] <= 6000 or starts[i] >= 9000]
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
    assert [document.number for document in documents] == ["10", "20", "971"]
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
        ("noname.gz", gzip.compress(RECORDS[0], mtime=0), "urn:uuid"),
        ("noname", gzip.compress(RECORDS[0], mtime=0), "urn:uuid"),
        ("misnamed.txt", RECORDS[0], "urn:uuid"),
        ("misnamed.jsonl.gz", b'{"text": "not compressed", "id": "urn:uuid"}', "urn:uuid"),
        ("noname", b' {"text": "json", "id": "urn:uuid"}', "urn:uuid"),
        ("x.ndjson", b'{"text": "json", "id": "urn:uuid"}', "urn:uuid"),
        (
            "x.jsonl.gz?key=1",
            gzip.compress(b'{"text": "a", "id": "urn:uuid"}', mtime=0),
            "urn:uuid",
        ),
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
        ("blank.txt.gz", gzip.compress(b" \n\n", mtime=0), "no document in it"),
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


ROWS = b'{"text": "one"}\n{"text": "two"}\n'
SKIPPABLE = b"\x5d\x2a\x4d\x18\x04\0\0\0dict"
KINDS: dict[str, tuple[bytes, str]] = {
    "x.arc": (b"filedesc://x.arc 0.0.0.0 20091105123456 text/plain 68\n", "an ARC file"),
    "x.pdf": (b"%PDF-1.4\n", "a PDF file"),
    "x.xml": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<a>", "an XML file"),
    "wiki": (b"<mediawiki xmlns='x'>\n", "an XML file"),
    "gone.jsonl.gz": (b"\n<!-- moved --><!DOCTYPE html><p>Gone", "an HTML page"),
    "gone.warc.wet.gz": (b"<html><p>Gone", "an HTML page"),
    "denied.warc.wet.gz": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "an XML file"),
    "x.arrow": (b"ARROW1\0\0", "an Arrow file"),
    "stream": (b"\xff\xff\xff\xff\x88\0\0\0\x10\0\0\0\0\0\n\0", "an Arrow file"),
    "wiki_00": (b'<doc id="12" url="u" title="t">\n', "pages of WikiExtractor"),
    "lfs.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "of Git LFS"),
    "annex.txt": (b"/annex/objects/MD5E-s5--0.txt\n", "of git-annex"),
    "x.docx": (b"PK\x03\x04\x14\0", "a zip file"),
    "x.rtf": (b"{\\rtf1\\ansi Text}", "an RTF file"),
    "x.tar": (b"x.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "a tar file"),
    "x.jsonl.lz4": (b"\x04\x22\x4d\x18data", "compressed with lz4"),
    "x.warc.zst": (SKIPPABLE + zstd_with_checksum(RECORDS[0]), "zstd with a dictionary"),
    "utf16.txt": ("\ufeffWords of text.\n".encode("utf-16-le"), "text in UTF-16"),
    "array.json": (b'[{"text": "one"},\n {"text": "two"}]\n', "a JSON array"),
    "pretty.json": (b'{\n  "text": "one"\n}\n', "JSON objects over several lines"),
    "part.html": (b"<div>Words of text.</div>\n", "an HTML page"),
    "x.csv": (b"id,text\n1,Words of text.\n", "a table"),
}


@pytest.mark.parametrize("name", KINDS)
def test_other_kinds_are_recognised_by_content(tmp_path: Path, name: str) -> None:
    content, kind = KINDS[name]
    for packed in (content, gzip.compress(content)):
        documents, report = read(tmp_path / name, packed)
        assert documents == []
        assert report.damaged == 1
        assert report.examples[0].startswith(f"{name}, whole source: ")
        assert kind in report.examples[0]


@pytest.mark.parametrize(
    "text",
    [
        "Orchids",
        "PARIS",
        "Rare",
        "7zip is",
        "<doc id='1'>",
        "<p>",
        "[1] Notes",
        "%",
        "{x}",
        "ORC\n",
    ],
)
def test_text_that_looks_a_little_like_another_kind_is_text(tmp_path: Path, text: str) -> None:
    assert read_ids(tmp_path / "x.txt", text.encode() + b" more of it\n") == ["x.txt#1"]


@pytest.mark.parametrize("members", [1, 2])
def test_bzip2(tmp_path: Path, members: int) -> None:
    packed = bz2.compress(ROWS) * members
    assert len(read_ids(tmp_path / "x.jsonl.bz2", packed)) == 2 * members
    documents, report = read(tmp_path / "x.jsonl.bz2", bz2.compress(b"") + packed[:-9] + packed)
    assert len(documents) >= 2 * members
    assert report.damaged == 1


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kind", ["warc.wet", "jsonl", "txt"])
def test_a_decompression_bomb_fills_no_memory(tmp_path: Path, suffix: str, kind: str) -> None:
    start = {"warc.wet": RECORDS[0], "jsonl": b'{"text": "a"}\n', "txt": b"a\n"}[kind]
    size = 100_000_000 if kind == "jsonl" else 50_000_000  # beyond the limits that hold below
    bomb = COMPRESSIONS[suffix](start + b" " * size)
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
    for copies in (60, 360):
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
