"""Layouts of rows: how files are recognised, opened and refused."""

import gzip
import io
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI
from tasks.criteo.preparation.test_prepare import columns, refuses, run

from hvcod import config
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.criteo.dataset import CATEGORY_NAMES, INTEGER_NAMES
from hvcod.tasks.criteo.preparation.generate import generate
from hvcod.tasks.criteo.preparation.limits import check, label_values
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.parse import parse
from hvcod.tasks.criteo.preparation.prepare import ClickPreparation
from hvcod.tasks.criteo.preparation.row_formats import TSV, Layout, recognise
from hvcod.tasks.criteo.preparation.sources import expand_inputs
from hvcod.values import Limit

ROWS = 60
TEXT = generate(7, 0, ROWS)[0]
FIELDS = [line.split(b"\t") for line in TEXT.splitlines()]
LABELS = [int(fields[0]) for fields in FIELDS]
FEATURES = ",".join([*INTEGER_NAMES, *CATEGORY_NAMES]).encode()


def written(front: Sequence[bytes], delimiter: bytes = b",", labelled: bool = True) -> bytes:
    """All rows with something in front of each, behind a label or without it."""
    lines = (delimiter.join([*front, *fields[not labelled :]]) for fields in FIELDS)
    return b"\n".join(lines) + b"\n"


TORCHREC = b"label," + b",".join(
    [*(b"int_%d" % n for n in range(13)), *(b"cat_%d" % n for n in range(26))]
)
HEADERS: dict[str, tuple[bytes, bool, bool]] = {
    "usual": (b"Id,Label," + FEATURES, True, True),
    "small letters": (b"id,label," + FEATURES.lower(), True, True),
    "no id": (b"label," + FEATURES, False, True),
    "no label": (FEATURES, False, False),
    "click": (b"click," + FEATURES, False, True),
    "an index": (b",label," + FEATURES, True, True),
    "numbered from 0": (TORCHREC, False, True),
    "quotes": (
        b'"label",' + b",".join(b'"%s"' % name for name in FEATURES.split(b",")),
        False,
        True,
    ),
    "tabs": (b"label\t" + FEATURES.replace(b",", b"\t"), False, True),
    "semicolons": (b"label;" + FEATURES.replace(b",", b";"), False, True),
    "line ends of Windows": (b"label," + FEATURES + b"\r", False, True),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(name: str) -> None:
    header, has_id, has_label = HEADERS[name]
    layout, begin = recognise("x", header + b"\n1,2\n")
    assert (layout.has_id, layout.has_label, layout.header) == (has_id, has_label, True)
    assert begin == len(header) + 1


@pytest.mark.parametrize("delimiter", [b"\t", b",", b";", b"|"])
@pytest.mark.parametrize("labelled", [True, False])
def test_rows_without_header(delimiter: bytes, labelled: bool) -> None:
    layout, begin = recognise("x", written([], delimiter, labelled))
    assert layout == Layout(delimiter, False, labelled, header=False)
    assert begin == 0


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"label," + FEATURES.replace(b"I1,I2", b"I2,I1") + b"\n", "not the header Id,Label"),
        (b"label\t" + b"\t".join(b"x%d" % n for n in range(39)) + b"\n", "not the header"),
        (b"label,day," + FEATURES + b"\n", "not the header Id,Label"),
        (b"f0,f1,treatment,conversion,visit,exposure\n1,2,0,0,0,0\n", "no rows of the Criteo"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (TEXT.decode().encode("utf-16"), "text in UTF-16"),
        (b"<!DOCTYPE html><p>Moved", "an HTML page"),
        (b"PK\x03\x04\x14\0", "a zip file"),
        (b"\x1b]0;title\x07\n", "'\\x1b]0;title"),
    ],
)
def test_other_files_are_told(head: bytes, told: str) -> None:
    with pytest.raises(HvcodError) as error:
        recognise("x", head)
    assert told in str(error.value)
    assert str(error.value).isprintable()


# --- labels ---


@pytest.mark.parametrize(
    ("no", "yes"),
    [
        ("0", "1"),
        ("-1", "1"),
        ("0.0", "1.0"),
        ("-1.0", "1.0"),
        ("false", "true"),
        ("False", "True"),
    ],
)
def test_labels_as_people_write_them(no: str, yes: str) -> None:
    text = b"".join(
        b"\t".join([(yes if fields[0] == b"1" else no).encode(), *fields[1:]]) + b"\n"
        for fields in FIELDS
    )
    block = parse(text, TSV)
    assert block.rows.labels.tolist() == LABELS
    assert block.labels == {no: ROWS - sum(LABELS), yes: sum(LABELS)}
    assert not block.malformed


def test_labels_of_ones_own() -> None:
    text = b"".join(
        b"\t".join([b"yes" if fields[0] == b"1" else b"no", *fields[1:]]) + b"\n"
        for fields in FIELDS
    )
    assert {bad.damage for bad in parse(text, TSV).malformed} == {
        "label 'yes', not 0 or 1 (nor -1, true, false)",
        "label 'no', not 0 or 1 (nor -1, true, false)",
    }
    layout = Layout(b"\t", False, True, header=False, labels=label_values("no,yes"))
    assert parse(text, layout).rows.labels.tolist() == LABELS
    layout = Layout(b"\t", False, True, header=False, labels=label_values("no,1"))
    (first, *_) = parse(text, layout).malformed
    assert first.damage == "label 'yes', not one of --labels no,1"


@pytest.mark.parametrize("text", ["", "0", "1,1", "0,1,2", "a,", "negative1,1"])
def test_labels_that_are_not_two(text: str) -> None:
    with pytest.raises(UsageError, match="--labels"):
        label_values(text)


def one(lines: int, labels: dict[str, int], **malformed: int) -> dict[str, object]:
    """The report of an input."""
    rows = sum(labels.values())
    example = {"examples": ["x, line 7: bad"]} if malformed else {"examples": []}
    counts = {"name": "x", "lines": lines, "rows": rows}
    return {**counts, "labels": Counter(labels), "malformed": Counter(malformed), **example}


def test_a_share_of_an_input() -> None:
    inputs = [one(1000, {"0": 985, "1": 5}, integer=10), one(100, {"0": 89, "1": 1}, integer=10)]
    check(inputs, PrepareOptions())
    check(inputs, PrepareOptions(max_damaged=Limit("10%")))
    with pytest.raises(HvcodError, match=r"x: 10 of 100 lines .*\(integer 10\).* 9% .*line 7"):
        check(inputs, PrepareOptions(max_damaged=Limit("9%")))
    with pytest.raises(HvcodError, match=r"x: 10 of 1000 lines"):
        check(inputs, PrepareOptions(max_damaged=Limit("9")))
    with pytest.raises(HvcodError, match="more than 1% malformed rows"):
        check(inputs, PrepareOptions(max_malformed=Limit("1%")))


def test_a_label_column_that_loses_one_side() -> None:
    with pytest.raises(HvcodError, match=r"all 10 labels that can be read are 1, and 1 rows"):
        check([one(11, {"1": 10}, label=1)], PrepareOptions())
    with pytest.raises(HvcodError, match=r"all 9 labels that can be read are 1 or true"):
        check([one(11, {"1": 5, "true": 4}, label=2)], PrepareOptions())
    check([one(11, {"1": 10}, integer=1)], PrepareOptions())
    check([one(10, {"1": 10})], PrepareOptions())


def test_minus_one_beside_zero_has_two_meanings() -> None:
    with pytest.raises(HvcodError, match=r"has -1 3 and 0 4: -1 could mean .* --labels 0,1"):
        check([one(5, {"-1": 3, "1": 2}), one(6, {"0": 4, "1": 2})], PrepareOptions())


@pytest.mark.parametrize("text", ["1%", "0.5 %", ".1%", "100%", "0", "1000"])
def test_limits(text: str) -> None:
    limit = Limit(text)
    most = limit.number if limit.number is not None else 10_000 * float(limit[:-1]) / 100
    assert not limit.is_exceeded(int(most), 10_000)
    assert limit.is_exceeded(int(most) + 1, 10_000)


@pytest.mark.parametrize("text", ["", "1.5", "-1", "101%", "%", "a", "1e3", "nan%"])
def test_what_is_not_a_limit(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Limit(text)


# --- files and folders ---


def test_quotes_and_decimals(tmp_path: Path) -> None:
    plain, odd = tmp_path / "plain.csv", tmp_path / "odd.csv"
    plain.write_bytes(b"label," + FEATURES + b"\n" + written([]))
    lines = [
        b",".join(
            b'"%s"' % (field + b".0" if field and index < 14 else field)
            for index, field in enumerate(fields)
        )
        for fields in FIELDS
    ]
    odd.write_bytes(b'"label",' + FEATURES + b"\r\n" + b"\r\n".join(lines) + b"\r\n")
    run([plain], tmp_path / "1")
    run([odd], tmp_path / "2", decimals=True)
    assert_same_rows(tmp_path / "1", tmp_path / "2")
    assert "--decimals" in refuses([odd], tmp_path / "3")
    odd.write_bytes(TEXT.replace(b"\t1\t", b"\t1.5\t", 3))
    assert run([odd], tmp_path / "4", decimals=True)["malformed_kinds"]["integer"] >= 1


def assert_same_rows(one: Path, other: Path) -> None:
    stored, expected = columns(one), columns(other)
    for name in ("integers", "categories", "labels"):
        assert (stored[name] == expected[name]).sum() == (expected[name] == expected[name]).sum()


def tar(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


OFFICIAL = {
    "dac/readme.txt": b"About the data.\n",
    "dac/._train.txt": b"\0\5\26\7",
    "dac/test.txt": written([], b"\t", labelled=False),
    "dac/train.txt": TEXT,
}


@pytest.mark.parametrize("packed", [True, False])
def test_the_official_tar_file_and_its_folder(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "dac.tar.gz"
    path.write_bytes(gzip.compress(tar(OFFICIAL)))
    if not packed:
        for name, content in OFFICIAL.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "dac"
    report = run_found(path, tmp_path / "data")
    assert report["rows"] == ROWS
    assert report["left_alone"] == 3
    assert columns(tmp_path / "data")["labels"].tolist() == LABELS
    report = run_found(path, tmp_path / "test", like=tmp_path / "data")
    assert columns(tmp_path / "test")["labels"].tolist() == [-1] * ROWS
    assert any("train.txt (rows with labels)" in name for name in report["left_alone_examples"])


def run_found(path: Path, output: Path, **options: object) -> dict[str, Any]:
    found = expand_inputs([str(path)])
    chosen = config.resolve(PrepareOptions, [options])
    preparation = ClickPreparation(found.sources, output, chosen, MPI.COMM_WORLD, found.left_alone)
    return preparation.run()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tar({"readme.txt": b"x"}), "without rows"),
        (tar({"a.txt": TEXT, "b.txt": TEXT}), "several files of rows, a.txt and b.txt"),
        (tar({"a.txt": b"Words."}), "a.txt has no rows of the Criteo data"),
        (tar({"a.txt": TEXT})[:6000], "cannot be unpacked"),
        (gzip.compress(tar({"a.txt": TEXT}))[:-900], "cannot be unpacked"),
    ],
)
def test_tar_files_that_are_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    assert told in refuses([path], tmp_path / "data")


def test_a_folder_of_days(tmp_path: Path) -> None:
    days = tmp_path / "days"
    days.mkdir()
    for number in (10, 2, 0):
        content = b"".join(TEXT.splitlines(keepends=True)[number : number + 20])
        name = f"day_{number}" + (".gz" if number == 2 else "")
        (days / name).write_bytes(gzip.compress(content) if number == 2 else content)
    for name in ("README.md", "LICENSE", "md5sums.xml", ".day_3.swp"):
        (days / name).write_bytes(b"Words.\n")
    found = expand_inputs([str(days)])
    assert [Path(each.name).name for each in found.sources] == ["day_0", "day_2.gz", "day_10"]
    assert sorted(Path(name).name for name in found.left_alone) == [
        "LICENSE",
        "README.md",
        "md5sums.xml",
    ]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "readme.txt").write_text("Words.")
    with pytest.raises(UsageError, match=r"no rows in .*none; left alone: .*readme\.txt"):
        expand_inputs([str(tmp_path / "none")])
    (days / "day_2").write_bytes(TEXT)
    with pytest.raises(UsageError, match=r"day_2 look like the same rows"):
        expand_inputs([str(days)])
    named = [str(days / name) for name in ("day_2", "day_2.gz")]
    assert len(expand_inputs(named).sources) == 2
