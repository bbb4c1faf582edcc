"""Rows out of text against a reader that takes one field after the other."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks.criteo.literal import logarithm, read_row

from hvcod.tasks.criteo.dataset import CATEGORIES, INTEGERS
from hvcod.tasks.criteo.preparation.generate import generate
from hvcod.tasks.criteo.preparation.malformed import LOST
from hvcod.tasks.criteo.preparation.parse import Block, parse
from hvcod.tasks.criteo.preparation.row_formats import (
    CSV,
    CSV_UNLABELLED,
    LAYOUTS,
    LONGEST_LINE,
    TSV,
    TSV_UNLABELLED,
    Layout,
)

GOOD = b"1\t" + b"\t".join([b"7", b"-3", *[b""] * 11, *[b"05db9164"] * 26])


def in_layout(layout: Layout, row: bytes = GOOD) -> bytes:
    """A labelled line of tabs in another layout."""
    fields = row.split(b"\t")
    front = [b"10000007"] * layout.has_id + fields[: layout.has_label]
    return layout.delimiter.join([*front, *fields[1:]])


def assert_as_literal(text: bytes, layout: Layout, block: Block) -> int:
    """Every line is a row with the right content, or malformed; the number of rows."""
    lines = text.split(b"\n")[:-1]
    expected = {number: row for number, line in enumerate(lines) if (row := read_row(line, layout))}
    rows = block.rows
    assert block.lines == len(lines)
    assert rows.lines.tolist() == list(expected)
    assert [each.line for each in block.malformed] == sorted({*range(len(lines))} - {*expected})
    assert all(each.kind and each.damage for each in block.malformed)
    literal = list(expected.values())
    assert rows.ids.tolist() == [-1 if row.identity is None else row.identity for row in literal]
    assert rows.labels.tolist() == [-1 if row.label is None else row.label for row in literal]
    logarithms = [[logarithm(value) for value in row.integers] for row in literal]
    expected_integers = np.array(logarithms).reshape(-1, INTEGERS).T
    np.testing.assert_allclose(rows.integers, expected_integers, rtol=1e-6)
    hashes = [[int(value or "0", 16) for value in row.categories] for row in literal]
    assert (rows.categories == np.array(hashes).reshape(-1, CATEGORIES).T).all()
    missing = [[value is None for value in row.categories] for row in literal]
    bits = [sum(absent << place for place, absent in enumerate(row)) for row in missing]
    assert rows.missing.tolist() == bits
    return len(literal)


def test_real_rows(real_data: Path) -> None:
    with gzip.open(real_data / "criteo/criteo_dac_110k.tsv.gz") as file:
        text = b"".join(next(file) for _ in range(3000))
    assert assert_as_literal(text, TSV, parse(text, TSV)) == 3000
    with gzip.open(real_data / "criteo/criteo_unlabelled_5k.tsv.gz") as file:
        text = b"".join(next(file) for _ in range(1000))
    assert assert_as_literal(text, TSV_UNLABELLED, parse(text, TSV_UNLABELLED)) == 1000
    text = (real_data / "criteo/kaggle_header_2k.csv").read_bytes().partition(b"\n")[2]
    assert assert_as_literal(text, CSV, parse(text, CSV)) == 1998


def test_generated_rows() -> None:
    text, _ = generate(3, 0, 500)
    assert assert_as_literal(text, TSV, parse(text, TSV)) == 500


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{len(layout.names)}-columns")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_every_layout_and_line_end(layout: Layout, end: bytes) -> None:
    lines = [in_layout(layout), b"no row", b"", in_layout(layout)]
    text = b"".join(line + end for line in lines)
    assert assert_as_literal(text, layout, parse(text, layout)) == 2


@pytest.mark.parametrize(
    "value",
    ["0", "-0", "9", "-1", "12345678", "-12345678", "123456789", "-999999999999999999", "007"],
)
def test_integers_of_any_length(value: str) -> None:
    fields = GOOD.split(b"\t")
    fields[1] = fields[13] = value.encode()
    text = b"\t".join(fields) + b"\n"
    assert assert_as_literal(text, TSV, parse(text, TSV)) == 1


@pytest.mark.parametrize("field", [0, 1, 14, 39])
@pytest.mark.parametrize("place", [0, 3, 7])
def test_every_byte_in_every_kind_of_field(field: int, place: int) -> None:
    lines = []
    for byte in range(256):
        fields = GOOD.split(b"\t")
        content = bytearray(fields[field].ljust(8, b"1") if field else fields[field])
        content[min(place, len(content) - 1)] = byte
        fields[field] = bytes(content)
        lines.append(b"\t".join(fields))
    text = b"\n".join(lines) + b"\n"
    assert_as_literal(text, TSV, parse(text, TSV))


@given(st.data())
def test_damaged_rows_are_rows_only_if_they_are(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    lines = []
    for _ in range(data.draw(st.integers(1, 4))):
        line = bytearray(in_layout(layout))
        for _ in range(data.draw(st.integers(0, 3))):
            begin = data.draw(st.integers(0, len(line)))
            end = data.draw(st.integers(begin, min(begin + 12, len(line))))
            line[begin:end] = data.draw(st.binary(max_size=12)).replace(b"\n", b"")
        lines.append(bytes(line))
    text = b"\n".join(lines) + b"\n"
    assert_as_literal(text, layout, parse(text, layout))


MALFORMED = {
    "too few columns": (b"1\t2\t3", "number of columns", "3 columns instead of 40"),
    "too many columns": (GOOD + b"\tx", "number of columns", "41 columns"),
    "no label": (in_layout(TSV_UNLABELLED), "number of columns", "a row without label"),
    "no integer": (GOOD.replace(b"7", b"x", 1), "integer", "I1 'x'"),
    "a decimal point": (GOOD.replace(b"7", b"7.5", 1), "integer", "I1 '7.5'"),
    "a minus alone": (GOOD.replace(b"-3", b"-", 1), "integer", "I2 '-'"),
    "a number beyond 64 bits": (GOOD.replace(b"7", b"9" * 19, 1), "integer", "up to 18 digits"),
    "another label": (b"2" + GOOD[1:], "label", "label '2'"),
    "an empty label": (GOOD[1:], "label", "label ''"),
    "a label in words": (b"yes" + GOOD[1:], "label", "label 'yes'"),
    "a header": (b"\t".join(name.encode() for name in TSV.names), "label", "label 'Label'"),
    "a short hash": (GOOD[:-1], "category", "C26 '05db916'"),
    "a long hash": (GOOD + b"0", "category", "C26 '05db91640'"),
    "no hash": (GOOD[:-1] + b"g", "category", "C26 '05db916g'"),
    "no UTF-8": (GOOD[:-1] + b"\xff", "not UTF-8", "not UTF-8"),
    "a NUL byte": (GOOD[:-1] + b"\0", "NUL byte", "NUL"),
    "a control character": (GOOD[:-1] + b"\x01", "category", "C26"),
    "an over-long field": (GOOD + b"a" * 1000, "category", "..."),
    "an over-long line": (GOOD + b"a" * LONGEST_LINE, "line too long", "longer than 65536 bytes"),
    "an empty line": (b"", "empty line", "an empty line"),
    "spaces": (GOOD.replace(b"7", b" 7", 1), "integer", "I1 ' 7'"),
    "quotes": (GOOD.replace(b"7", b'"7"', 1), "integer", "I1"),
    "lost rows": (LOST + b"gzip data: bad", "lost in compression", "lost: gzip data: bad"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_line_is_told(name: str) -> None:
    line, kind, found = MALFORMED[name]
    (only,) = parse(GOOD + b"\n" + line + b"\n" + GOOD + b"\n", TSV).malformed
    assert (only.line, only.kind) == (1, kind)
    assert found in only.damage
    assert len(only.damage) < 120


@pytest.mark.parametrize("identity", [b"", b"-1", b"x", b"1" * 19])
def test_an_id_must_be_a_number(identity: bytes) -> None:
    line = identity + in_layout(CSV_UNLABELLED)[8:]
    (only,) = parse(line + b"\n", CSV_UNLABELLED).malformed
    assert only.kind == "id"
