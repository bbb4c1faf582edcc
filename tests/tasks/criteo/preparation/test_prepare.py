"""Rows to features: what is stored is what a literal preparation gives; damage is told."""

import gzip
import json
import lzma
import math
import resource
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from tasks.commoncrawl.corpora import assert_same_files
from tasks.criteo.literal import Row, logarithm, read_row

from hvcod import config
from hvcod.errors import HvcodError, UsageError
from hvcod.tasks.criteo.dataset import CATEGORIES, INTEGERS, PARTS, ClickDataset
from hvcod.tasks.criteo.features import KNOWN, MISSING, OUT_OF_VOCABULARY, Features
from hvcod.tasks.criteo.preparation.generate import generate
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.prepare import ClickPreparation
from hvcod.tasks.criteo.preparation.row_formats import (
    CSV,
    CSV_UNLABELLED,
    TSV,
    TSV_UNLABELLED,
    Layout,
)
from hvcod.tasks.criteo.preparation.sources import expand_inputs, generated_inputs
from hvcod.tasks.criteo.preparation.summary import table

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROWS = 900
COLUMNS = ("integers", "categories", "labels", "ids")
Report = dict[str, Any]


def run(inputs: Sequence[Path], output: Path, **options: Any) -> Report:
    chosen = config.resolve(PrepareOptions, [options])
    sources = expand_inputs([str(path) for path in inputs]).sources
    return ClickPreparation(sources, output, chosen, MPI.COMM_WORLD).run()


def columns(folder: Path) -> dict[str, np.ndarray]:
    """All rows of a dataset."""
    dataset = ClickDataset(folder)
    end = max(part.stop for part in dataset.parts.values())
    return {name: dataset.column(name, 0, end) for name in COLUMNS}


def refuses(inputs: Sequence[Path], output: Path, **options: Any) -> str:
    """The one line of an error."""
    with pytest.raises(HvcodError) as error:
        run(inputs, output, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def text() -> bytes:
    return generate(11, 0, ROWS)[0]


@pytest.fixture(scope="module")
def plain(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "train.txt"
    path.write_bytes(text)
    return path


OPTIONS = {"min_count": 3, "validation_fraction": 0.2, "test_fraction": 0.1}


@pytest.fixture(scope="module")
def prepared(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("prepared") / "data"
    run([plain], output, **OPTIONS)
    return output


def rows_of(text: bytes, layout: Layout = TSV) -> list[Row]:
    rows = [read_row(line, layout) for line in text.split(b"\n")[:-1]]
    return [row for row in rows if row]


def test_as_a_literal_preparation(text: bytes, prepared: Path) -> None:
    rows, stored, dataset = rows_of(text), columns(prepared), ClickDataset(prepared)
    test, validation = round(0.1 * ROWS), round(0.2 * ROWS)
    training = rows[: ROWS - test - validation]
    assert {name: (part.start, part.stop) for name, part in dataset.parts.items()} == {
        "training": (0, len(training)),
        "validation": (len(training), ROWS - test),
        "test": (ROWS - test, ROWS),
    }
    assert stored["labels"].tolist() == [row.label for row in rows]
    assert stored["ids"].tolist() == list(range(ROWS))
    assert dataset.click_rate == sum(row.label or 0 for row in training) / len(training)
    first = 0
    for feature in range(CATEGORIES):
        counts = Counter(row.categories[feature] for row in training)
        often = [(-n, v) for v, n in counts.items() if v is not None and n >= 3]
        known = [value for _, value in sorted(often)]
        ids: dict[str | None, int] = {
            value: first + KNOWN + place for place, value in enumerate(known)
        }
        ids[None] = first + MISSING
        expected = [ids.get(row.categories[feature], first + OUT_OF_VOCABULARY) for row in rows]
        assert stored["categories"][:, feature].tolist() == expected
        first += KNOWN + len(known)
    assert dataset.table_rows == first
    for feature in range(INTEGERS):
        values = np.array([logarithm(row.integers[feature]) for row in rows])
        fitted = values[: len(training)]
        scaled = (values - np.nanmean(fitted)) / np.nanstd(fitted)
        np.testing.assert_allclose(stored["integers"][:, feature], scaled, rtol=1e-4, atol=1e-5)


def test_the_vocabulary_is_saved(text: bytes, prepared: Path) -> None:
    features = Features.load(prepared / "features.h5")
    training = rows_of(text)[: len(ClickDataset(prepared).part("training"))]
    counts = Counter(row.categories[3] for row in training)
    known = {int(v, 16): n for v, n in counts.items() if v is not None and n >= 3}
    assert dict(zip(features.values[3].tolist(), features.counts[3].tolist(), strict=True)) == known


def test_the_report_adds_up(text: bytes, plain: Path, prepared: Path) -> None:
    report = run([plain], prepared, **OPTIONS)  # finished: nothing is done again
    assert json.loads((prepared / "report.json").read_text()) == report
    assert report["lines"] == report["rows"] == ROWS
    assert sum(report[part]["rows"] for part in PARTS) == ROWS
    stored, dataset = columns(prepared), ClickDataset(prepared)
    for part in PARTS:
        rows = slice(dataset.part(part).start, dataset.part(part).stop)
        begins = Features.load(prepared / "features.h5").offsets[:-1]
        places = stored["categories"][rows] - begins
        assert report[part]["clicks"] == stored["labels"][rows].sum()
        assert report[part]["out_of_vocabulary"] == (places == OUT_OF_VOCABULARY).sum()
        assert report[part]["missing_categories"] == (places == MISSING).sum()
        assert report[part]["missing_integers"] == np.isnan(stored["integers"][rows]).sum()
    training = rows_of(text)[: len(dataset.part("training"))]
    distinct = {row.categories[2] for row in training} - {None}
    assert report["categories"]["C3"]["distinct"] == len(distinct)
    assert "distinct categories" in table(report)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_compressed_inputs_give_the_same_bytes(
    text: bytes, prepared: Path, tmp_path: Path, suffix: str
) -> None:
    compress: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".zst": zstd.compress,
    }
    path = tmp_path / f"train.txt{suffix}"
    path.write_bytes(compress[suffix](text))
    run([path], tmp_path / "data", **OPTIONS)
    for name in ("shards/00000.h5", "features.h5"):
        assert (tmp_path / "data" / name).read_bytes() == (prepared / name).read_bytes()


def test_pieces_change_no_row(plain: Path, prepared: Path, tmp_path: Path) -> None:
    report = run([plain], tmp_path / "data", piece_bytes=30_000, **OPTIONS)
    assert len(list((tmp_path / "data/shards").iterdir())) > 5
    assert report["rows"] == ROWS
    for name, column in columns(prepared).items():
        np.testing.assert_array_equal(columns(tmp_path / "data")[name], column)
    assert Features.load(tmp_path / "data/features.h5").offsets.tolist() == (
        Features.load(prepared / "features.h5").offsets.tolist()
    )


def test_there_may_be_more_pieces_than_open_files(
    plain: Path, prepared: Path, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, limits[1]))
    try:
        run([plain], tmp_path / "data", piece_bytes=plain.stat().st_size // 90, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(list((tmp_path / "data" / "shards").iterdir())) > 80
    expected = Features.load(prepared / "features.h5")
    found = Features.load(tmp_path / "data" / "features.h5")
    for values, known in zip(found.values, expected.values, strict=True):
        np.testing.assert_array_equal(values, known)


def in_layout(text: bytes, layout: Layout) -> bytes:
    lines = [",".join(layout.names).encode()] if layout.header else []
    for number, line in enumerate(text.split(b"\n")[:-1]):
        fields = line.split(b"\t")
        front = [b"%d" % (10_000_000 + number)] * layout.has_id + fields[: layout.has_label]
        lines.append(layout.delimiter.join([*front, *fields[1:]]))
    return b"\n".join(lines) + b"\n"


def test_a_csv_gives_the_same_rows_under_its_ids(
    text: bytes, prepared: Path, tmp_path: Path
) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + in_layout(text, CSV).replace(b"\n", b"\r\n"))
    run([path], tmp_path / "data", **OPTIONS)
    stored, expected = columns(tmp_path / "data"), columns(prepared)
    assert stored["ids"].tolist() == [10_000_000 + number for number in range(ROWS)]
    for name in COLUMNS[:-1]:
        np.testing.assert_array_equal(stored[name], expected[name])


@pytest.mark.parametrize("layout", [TSV, TSV_UNLABELLED, CSV_UNLABELLED], ids=str)
def test_other_rows_by_the_same_vocabulary(
    text: bytes, prepared: Path, tmp_path: Path, layout: Layout
) -> None:
    path = tmp_path / "other"
    path.write_bytes(in_layout(text, layout))
    report = run([path], tmp_path / "data", like=prepared)
    stored, expected = columns(tmp_path / "data"), columns(prepared)
    for name in ("integers", "categories"):
        np.testing.assert_array_equal(stored[name], expected[name])
    labels = expected["labels"] if layout.has_label else np.full(ROWS, -1)
    assert (stored["labels"] == labels).all()
    assert report["test"]["rows"] == ROWS
    dataset = ClickDataset(tmp_path / "data")
    assert dataset.click_rate == ClickDataset(prepared).click_rate
    with pytest.raises(HvcodError, match=r"no rows in the part training; it has test \(900 rows\)"):
        dataset.part("training")


def test_files_keep_their_order_and_lines_are_numbered_through(text: bytes, tmp_path: Path) -> None:
    lines = text.split(b"\n")[:-1]
    for name, part in (("day_10", lines[:200]), ("day_2", [b"damaged", *lines[200:300]])):
        (tmp_path / f"{name}.txt").write_bytes(b"\n".join(part))
    given = run([tmp_path / "day_10.txt", tmp_path / "day_2.txt"], tmp_path / "given")
    ids = columns(tmp_path / "given")["ids"].tolist()
    assert ids == [*range(200), *range(201, 301)]
    assert given["malformed_examples"] == [f"{tmp_path}/day_2.txt, line 1: 1 columns instead of 40"]
    natural = run([tmp_path / "day_*.txt"], tmp_path / "natural")
    assert [Path(each["name"]).name for each in natural["inputs"]] == ["day_2.txt", "day_10.txt"]


def test_malformed_rows_are_counted_told_and_skipped(text: bytes, tmp_path: Path) -> None:
    lines = text.split(b"\n")[:-1]
    damaged = {
        7: b"1\t2",
        90: lines[90][2:],
        91: lines[91].replace(b"\t", b"\tx", 1),
        400: b"",
        701: lines[701][:-3] + b"\0\0\0",
        ROWS - 1: lines[-1][:-2] if lines[-1][-1:] != b"\t" else lines[-1][:-30],
    }
    for number, line in damaged.items():
        lines[number] = line
    path = tmp_path / "train.txt"
    path.write_bytes(b"\n".join(lines))  # the last line is cut
    report = run([path], tmp_path / "data", piece_bytes=20_000)
    assert report["malformed"] == len(damaged)
    assert report["rows"] + report["malformed"] == report["lines"] == ROWS
    told = [each.split(", ")[1].split(":")[0] for each in report["malformed_examples"]]
    assert told == [f"line {number + 1}" for number in damaged]
    assert report["malformed_kinds"]["empty line"] == 1
    kept = [number for number in range(ROWS) if number not in damaged]
    assert columns(tmp_path / "data")["ids"].tolist() == kept
    assert f"malformed: {path}, line 8: 2 columns instead of 40" in table(report)


@pytest.mark.parametrize("piece_bytes", [10_000, 2**26])
def test_too_many_malformed_rows_are_an_error(
    text: bytes, tmp_path: Path, piece_bytes: int
) -> None:
    lines = text.split(b"\n")[:-1]
    for number in (500, 600, 700, 701):
        lines[number] = b"x"
    path = tmp_path / "train.txt"
    path.write_bytes(b"\n".join(lines))
    options = {"max_malformed": 3, "piece_bytes": piece_bytes}
    told = refuses([path], tmp_path / "data", **options)
    assert "more than 3 malformed rows: " in told
    assert f"{path}, line 501: 1 columns instead of 40" in told
    assert "--max-malformed" in told
    run([path], tmp_path / "data", max_malformed=4, piece_bytes=piece_bytes)
    assert ClickDataset(tmp_path / "data").part("training")


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_damaged_compression_loses_rows_but_not_silently(
    text: bytes, tmp_path: Path, suffix: str
) -> None:
    compress: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".zst": lambda part: zstd.compress(  # with a checksum, as the command line tool does
            part, options={zstd.CompressionParameter.checksum_flag: 1}
        ),
    }
    lines = text.split(b"\n")[:-1]
    members = [
        compress[suffix](b"\n".join(lines[first : first + 300]) + b"\n") for first in (0, 300, 600)
    ]
    broken = bytearray(members[1])
    broken[len(broken) // 2 : len(broken) // 2 + 40] = b"\xaa" * 40
    path = tmp_path / f"train.txt{suffix}"
    path.write_bytes(members[0] + bytes(broken) + members[2])
    report = run([path], tmp_path / "data")
    assert report["malformed_kinds"]["lost in compression"] == 1
    assert report["rows"] + report["malformed"] == report["lines"]
    assert report["rows"] >= 600
    expected = rows_of(text)
    stored = columns(tmp_path / "data")
    assert stored["labels"][:300].tolist() == [row.label for row in expected[:300]]
    assert stored["labels"][-300:].tolist() == [row.label for row in expected[600:]]


def test_a_cut_gzip_file(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress(text)[:-20_000])
    report = run([path], tmp_path / "data")
    assert report["malformed_kinds"]["lost in compression"] == 1
    assert "rows are lost: gzip data: cut off" in report["malformed_examples"][-1]
    assert 0 < report["rows"] < ROWS
    expected = [row.label for row in rows_of(text)][: report["rows"]]
    assert columns(tmp_path / "data")["labels"].tolist() == expected


REFUSED = {
    "an empty file": (b"", "is empty"),
    "blank lines": (b"\n\n\n", "is empty"),
    "prose": (b"Call me Ishmael.\n" * 50, "has no rows of the Criteo data"),
    "binary data": (bytes(range(256)) * 50, "has no rows of the Criteo data"),
    "another table": (b"1\t2\t3\n" * 50, "40 columns"),
    "a csv without header": (b",".join([b"1"] * 41) + b"\n", "not the header Id,Label"),
    "a wrong header": (b"id,click," + b",".join([b"x"] * 39) + b"\n", "not the header Id,Label"),
    "a header alone": (",".join(CSV.names).encode() + b"\n", "0 rows in all"),
    "not gzip": (b"\x1f\x8b\x08" + b"\0" * 50, "has no rows of the Criteo data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert reason in refuses([path], tmp_path / "data")


def test_labelled_and_unlabelled_rows_do_not_mix(
    text: bytes, plain: Path, prepared: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test.txt"
    path.write_bytes(in_layout(text, TSV_UNLABELLED))
    assert "has no labels: nothing can be learned" in refuses([path], tmp_path / "1")
    assert "prepare them one by one" in refuses([plain, path], tmp_path / "2")
    lines = text.split(b"\n")[:400] + in_layout(text, TSV_UNLABELLED).split(b"\n")[400:410]
    path.write_bytes(b"\n".join(lines))
    report = run([path], tmp_path / "3")
    assert report["malformed_kinds"] == {"number of columns": 10}
    assert "39 columns instead of 40: a row without label" in report["malformed_examples"][0]
    assert "holds no finished data" in refuses([path], tmp_path / "4", like=tmp_path / "3/shards")


def test_rows_to_train_on_may_have_the_features_of_others(
    plain: Path, prepared: Path, tmp_path: Path
) -> None:
    options = {"like": prepared, "divide": True, "validation_fraction": 0.25}
    report = run([plain], tmp_path / "data", **options)
    assert [report[part]["rows"] for part in PARTS] == [675, 225, 0]
    dataset, other = ClickDataset(tmp_path / "data"), ClickDataset(prepared)
    assert dataset.meaning == other.meaning
    assert dataset.click_rate == report["training"]["clicks"] / 675
    for name, stored in columns(tmp_path / "data").items():
        np.testing.assert_array_equal(stored, columns(prepared)[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 5}, "--min-count does not go with --like"),
        ({"test_fraction": 0.5}, "--test-fraction with --like needs --divide"),
        ({"like": None, "divide": True}, "--divide only goes with --like"),
    ],
)
def test_what_does_not_go_with_like(
    plain: Path, prepared: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    assert message in refuses([plain], tmp_path / "data", **{"like": prepared, **options})


def test_wrong_usage(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing matches .*nowhere"):
        run([tmp_path / "nowhere-*.txt"], tmp_path / "data")
    with pytest.raises(UsageError, match="is given twice"):
        run([plain, plain.parent / "." / plain.name], tmp_path / "data")
    with pytest.raises(UsageError, match="leave no rows for training"):
        run([plain], tmp_path / "data", validation_fraction=0.6, test_fraction=0.4)
    run([plain], tmp_path / "data")
    run([plain], tmp_path / "other", like=tmp_path / "data")
    (tmp_path / "data" / "features.h5").unlink()
    with pytest.raises(UsageError, match=r"features\.h5: cannot be read: No such file"):
        run([plain], tmp_path / "more", like=tmp_path / "data")
    with pytest.raises(UsageError, match="made with other options"):
        run([plain], tmp_path / "data", min_count=5)


def test_a_row_alone_cannot_train_and_validate(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(text.partition(b"\n")[0])
    assert "1 rows in all" in refuses([path], tmp_path / "data")
    run([path], tmp_path / "all", validation_fraction=0.0)
    path.write_bytes(b"\n".join(text.split(b"\n")[:2]))
    assert run([path], tmp_path / "two", validation_fraction=0.9)["training"]["rows"] == 1


def test_generated_rows_know_their_best_loss(tmp_path: Path) -> None:
    rows = 20_000
    chosen = config.resolve(PrepareOptions, [{"piece_bytes": 2**20}])
    sources = generated_inputs(rows, 4)
    report = ClickPreparation(sources, tmp_path / "data", chosen, MPI.COMM_WORLD).run()
    assert (report["rows"], report["malformed"]) == (rows, 0)
    dataset = ClickDataset(tmp_path / "data")
    assert dataset.generated
    text, expected = generate(4, 0, rows)
    probabilities = dataset.column("probabilities", 0, rows).astype(np.float64)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    labels = dataset.column("labels", 0, rows)
    assert labels.tolist() == [row.label for row in rows_of(text)]
    # As many clicks as the probabilities say, among the likely rows and the unlikely ones.
    order = np.argsort(probabilities)
    for part in np.array_split(order, 10):
        spread = math.sqrt((probabilities[part] * (1 - probabilities[part])).sum())
        assert abs(labels[part].sum() - probabilities[part].sum()) < 4 * spread
    # Best is best: neither flatter nor steeper probabilities have a smaller loss.
    logits = np.log(probabilities / (1 - probabilities))
    losses = []
    for steepness in (0.8, 1.0, 1.25):
        other = 1 / (1 + np.exp(-steepness * logits))
        losses.append(-np.log(np.where(labels == 1, other, 1 - other)).mean())
    assert losses[1] == min(losses) < 0.5
    click = labels.mean()
    entropy = -(click * math.log(click) + (1 - click) * math.log(1 - click))
    assert entropy - losses[1] > 0.08


def test_a_generator_repeats_itself(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        options = config.resolve(PrepareOptions, [{}])
        sources = generated_inputs(500, 9)
        ClickPreparation(sources, tmp_path / folder, options, MPI.COMM_WORLD).run()
    assert_same_files([tmp_path / "one", tmp_path / "two"])
    assert generate(9, 0, 50)[0] != generate(10, 0, 50)[0]
