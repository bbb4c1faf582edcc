"""Rows are aligned by id, whatever their order, and what is wrong with them is told with counts."""

import gzip
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from churn.conftest import CSV, HDF5, pair_of, report_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvcod.churn.compare import compare
from hvcod.churn.files.spill import partition
from hvcod.churn.options import CompareOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.evaluation.predictions import Block, Shape, writer
from hvcod.tensorfile.meaning import meaning_of

ROWS = 5000


def fails(message: str) -> "pytest.RaisesExc[HvcodError]":
    return pytest.RaisesExc(HvcodError, match=message)


@pytest.mark.parametrize("kind", ["number", "text"])
def test_the_order_does_not_matter(hdf5: HDF5, kind: str) -> None:
    rng = np.random.default_rng(1)
    ids = rng.permutation(ROWS) * 7919
    names = ids if kind == "number" else np.array([f"user-{each}".encode() for each in ids])
    old, new, order = rng.random(ROWS), rng.random(ROWS), rng.permutation(ROWS)
    a = hdf5("a", id=names, prediction=old)
    same = pair_of(a, hdf5("b", id=names, prediction=new))
    shuffled = pair_of(a, hdf5("c", id=names[order], prediction=new[order]))
    for pair in (same, shuffled):
        assert pair.overall.churn == pytest.approx(np.abs(old - new).mean(), abs=1e-12)
    assert shuffled.rank_correlation == pytest.approx(same.rank_correlation, abs=1e-12)


def test_text_of_different_lengths_is_aligned(csv: CSV, hdf5: HDF5) -> None:
    long = "z" * 40
    a = csv("a", f"id,prediction x,0.1 {long},0.5")
    b = hdf5("b", id=np.array([long.encode(), b"x"]), prediction=[0.5, 0.3])
    assert pair_of(a, b).overall.churn == pytest.approx(0.1)


def test_letters_beyond_ascii(csv: CSV) -> None:
    a, b = csv("a", "id,prediction é,0.1 日本,0.5"), csv("b", "id,prediction 日本,0.5 é,0.3")
    assert pair_of(a, b).overall.churn == pytest.approx(0.1)


def test_a_partition_does_not_depend_on_the_padding() -> None:
    texts = np.array([f"user-{each}".encode() for each in range(1000)])
    assert (partition(texts) == partition(texts.astype("S64"))).all()
    assert len(np.unique(partition(texts))) == 64
    assert np.bincount(partition(np.arange(64000))).max() < 1200


def test_without_ids_rows_are_aligned_by_number(csv: CSV, hdf5: HDF5) -> None:
    a, b = csv("a", "prediction 0.1 0.5"), hdf5("b", prediction=[0.2, 0.9])
    assert pair_of(a, b).overall.churn == pytest.approx(0.25)
    c = hdf5("c", id=[7, 8], prediction=[0.2, 0.9])
    with fails("c.h5 has numbers as ids.*--by-row"):
        pair_of(a, c)
    assert pair_of(a, c, by_row=True).overall.churn == pytest.approx(0.25)


def test_files_that_hvcod_predict_writes(tmp_path: Path) -> None:
    block = Block(
        np.array([b"x/1", b"x/22"]),
        np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32),
        np.array([1, -1]),
    )
    shape = Shape(count=2, ids=np.dtype("S4"), classes=2, labelled=True)
    paths = [tmp_path / "p.h5", tmp_path / "p.csv"]
    for path in paths:
        with path.open("wb") as file:
            writer(path)(file, shape, [block])
    pair = pair_of(*paths)
    assert (pair.overall.rows, pair.overall.churn, pair.overall.good_churn) == (2, 0.0, 0.0)


def test_classes_of_another_meaning_are_refused(tmp_path: Path) -> None:
    def predicted(name: str, words: list[str], classes: int | None) -> Path:
        kept = np.array([[0.25, 0.75]] if classes else [0.25], dtype=np.float32)
        meaning = meaning_of({"vocabulary": words})
        with (tmp_path / f"{name}.h5").open("wb") as file:
            shape = Shape(1, np.dtype("S4"), classes, labelled=False, meaning=meaning)
            block = Block(np.array([b"x/1"]), kept, np.array([-1]))
            writer(tmp_path / "p.h5")(file, shape, [block])
        return tmp_path / f"{name}.h5"

    first, same = (predicted(name, ["a", "b"], 2) for name in "ab")
    other = predicted("c", ["b", "a"], 2)
    assert pair_of(first, same).overall.churn == 0
    with fails("the classes of .*c.h5 have another meaning than those of .*a.h5: vocabulary "):
        pair_of(first, other)
    # The probability of a yes is one whatever it was predicted from.
    one, two = (predicted(name, [name], None) for name in "de")
    assert pair_of(one, two).overall.churn == 0


def test_compressed_csv(csv: CSV, tmp_path: Path) -> None:
    plain = csv("a", "id,prediction 1,0.25 2,0.5")
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert pair_of(plain, packed).overall.churn == 0.0


def test_each_file_is_read_once(tmp_path: Path) -> None:
    """Pipes can be read no second time: in other orders, too."""
    lines = [f"{each},{each / 1000}" for each in range(1000)]
    paths = []
    for name, content in {"a": lines, "b": lines[::-1]}.items():
        path = tmp_path / f"{name}.csv"
        os.mkfifo(path)
        text = "\n".join(["id,prediction", *content])
        threading.Thread(target=path.write_text, args=(text,), daemon=True).start()
        paths.append(path)
    assert pair_of(*paths).overall.rows == 1000


def test_missing_rows(csv: CSV) -> None:
    a = csv("a", "id,prediction 1,0.1 2,0.2 3,0.3 4,0.4")
    b = csv("b", "id,prediction 1,0.2 3,0.3 9,0.4")
    with fails(
        r"a.csv: 2 of 4 rows are missing in the other file \(first: id [24]\).*"
        r"b.csv: 1 of 3 rows are missing in the other file \(first: id 9\)"
    ):
        pair_of(a, b)
    report = report_of([a, b], common=True)
    assert report.rows == 2
    assert report.methods["all"].pairs[0].overall.churn == pytest.approx(0.05)
    assert sorted(re.findall(r": (\d) of", " ".join(report.warnings))) == ["1", "2"]


def test_no_row_in_common(csv: CSV) -> None:
    a, b = csv("a", "id,prediction 1,0.1"), csv("b", "id,prediction 2,0.2")
    with fails("no rows to compare"):
        pair_of(a, b, common=True)


@pytest.mark.parametrize("twins", ["2,0.2 2,0.3 5,0.5", "5,0.5 2,0.2 2,0.3"])
def test_duplicates(csv: CSV, twins: str) -> None:
    a, b = csv("a", f"id,prediction {twins}"), csv("b", f"id,prediction {twins}")
    with fails(r"a.csv: 1 of 3 rows repeat an id \(first: id 2\)"):
        pair_of(a, b)
    with fails(r"b.csv: 1 of 3 rows repeat an id"):
        pair_of(csv("c", "id,prediction 2,0.5 5,0.1"), b)


def test_an_id_that_comes_again_after_the_order_changed(csv: CSV) -> None:
    """Too long for one block: the first half is aligned side by side, the second joined."""
    ids = list(range(100_000))
    rows = [f"{each},0.5" for each in ids]
    a = csv("a", " ".join(["id,prediction", *rows, "7,0.5"]))
    b = csv("b", " ".join(["id,prediction", *rows[:90_000], *rows[:89_999:-1]]))
    with fails(r"a.csv: 1 of 100,001 rows repeat an id \(first: id 7\)"):
        pair_of(a, b)


def test_logits(csv: CSV) -> None:
    a = csv("a", "id,prediction 1,-3.5 2,0.2 3,2.75")
    with fails(
        r"a.csv: 2 of 3 predictions lie outside \[0, 1\] \(first: id 1\), from -3.5 to 2.75: "
        "these look like logits"
    ):
        pair_of(a, csv("b", "id,prediction 1,0.5 2,0.5 3,0.5"))


def test_rounding_is_forgiven(hdf5: HDF5) -> None:
    a, b = hdf5("a", prediction=[1.0000001, -1e-9]), hdf5("b", prediction=[1.0, 0.0])
    assert pair_of(a, b, prediction_column="prediction").overall.churn == 0.0


def test_not_a_number(csv: CSV, hdf5: HDF5) -> None:
    a = csv("a", "id,prediction 1,nan 2,0.2 3,")
    b = hdf5("b", id=[1, 2, 3], prediction=[0.1, np.nan, 0.3])
    with fails(
        r"a.csv: 2 of 3 predictions are not a number \(NaN\) \(first: id 1\); "
        r"b.h5: 1 of 3 predictions are not a number \(NaN\) \(first: id 2\)".replace(
            "b.h5", ".*b.h5"
        )
    ):
        pair_of(a, b)


def test_labels_that_differ(csv: CSV) -> None:
    a = csv("a", "id,prediction,label 1,0.1,0 2,0.2,1 3,0.3,")
    b = csv("b", "id,prediction,label 1,0.1,0 2,0.2,0 3,0.3,1")
    with fails(r"b.csv: 1 of 3 labels differ from those of earlier files \(first: id 2\)"):
        pair_of(a, b)


def test_labels_of_one_file_are_enough(csv: CSV) -> None:
    a = csv("a", "id,prediction,label 2,0.2,1 1,0.1,0")
    pair = pair_of(csv("b", "id,prediction 1,0.6 2,0.7"), a)
    assert (pair.overall.good_churn, pair.overall.bad_churn) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,score 1,0.5", "neither a column prediction nor prediction_0.*id, score"),
        ("id,prediction_0,prediction_2 1,0.5,0.5", "neither a column prediction"),
        ("id,prediction 1,abc", "cannot read .*a.csv: .*abc"),
        ("id,prediction 1,0.5,9", "cannot read .*a.csv: .*Expected 2 columns, got 3"),
        ("id,prediction,label 1,0.5,0.3", "0.3 is not a label"),
        ("id,prediction,label 1,0.5,-1", "-1 is not a label; classes are numbered from 0"),
        ("id,prediction,label 1,0.5,2", "1 of 1 labels are not the number of a class"),
        ("id,prediction,prediction 1,0.5,0.5", "several columns have the name prediction"),
        ("prediction 0.5", "a.csv has no ids.*b.csv has text as ids; --by-row"),
        ("id,prediction_0,prediction_1,prediction_2 1,0,0.5,0.5", "of classes: .*a.csv 3, .*one"),
        ("id,prediction", "1 of 1 rows are missing"),
        ("", "the first line is empty, which must name the columns"),
    ],
)
def test_files_that_do_not_fit(csv: CSV, content: str, message: str) -> None:
    with fails(message):
        pair_of(csv("a", content), csv("b", "id,prediction 1,0.5"))


def test_hdf5_files_that_do_not_fit(hdf5: HDF5, tmp_path: Path) -> None:
    good = hdf5("good", prediction=[0.5])
    with fails("neither a dataset prediction nor .*; it has score"):
        pair_of(good, hdf5("a", score=[0.5]))
    with fails("differ in length: prediction 1, id 2"):
        pair_of(good, hdf5("b", id=[1, 2], prediction=[0.5]))
    cut = tmp_path / "cut.h5"
    cut.write_bytes(good.read_bytes()[:300])
    with fails("cannot read .*cut.h5"):
        pair_of(good, cut)
    with pytest.raises(UsageError, match="no such file"):
        pair_of(good, tmp_path / "none.h5")


def test_classes_that_do_not_sum_up_to_one_are_warned_of(hdf5: HDF5) -> None:
    a = hdf5("a", prediction=[[0.5, 0.5], [0.7, 0.7]])
    (warning,) = report_of([a, hdf5("b", prediction=[[0.5, 0.5], [0.5, 0.5]])]).warnings
    assert "a.h5: 1 of 2 rows of classes do not sum to 1" in warning


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_mixture_of_rows(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Against dictionaries: three files of some ids in any order, common ids compared."""
    folder = tmp_path_factory.mktemp("mixed")
    ids = st.lists(st.integers(-5, 12), unique=True, min_size=1)
    tables = [
        {each: data.draw(st.integers(0, 100)) / 100 for each in data.draw(ids)} for _ in range(3)
    ]
    paths = []
    for number, rows in enumerate(tables):
        path = folder / f"{number}.csv"
        path.write_text("".join(["id,prediction\n", *(f"{k},{v}\n" for k, v in rows.items())]))
        paths.append(path)
    both = sorted(set.intersection(*map(set, tables)))
    if not both:
        with fails("no rows to compare"):
            report_of(paths, common=True)
        return
    # Named, because predictions that happen to be 0 and 1 would be refused as decisions.
    report = report_of(paths, common=True, prediction_column="prediction")
    pairs = report.methods["all"].pairs
    for pair, (a, b) in zip(pairs, [(0, 1), (0, 2), (1, 2)], strict=True):
        wanted = np.mean([abs(tables[a][each] - tables[b][each]) for each in both])
        assert pair.overall.churn == pytest.approx(wanted, abs=1e-12)


CLASSES = "id,prediction_0,prediction_1"


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (f"{CLASSES} 1,0.5,0.4 2,0.5,0.5", {}, "1 of 2 rows of classes do not sum to 1"),
        (f"{CLASSES} 1,0.5,0.5 2,0.5,0.5 3,1,0", {"common": True}, "1 of 3 rows are missing in"),
        (f"{CLASSES} 1,0,1 2,1,0", {}, "all 2 predictions are 0 or 1"),
        ("id,prediction 1,0.5 2,0.5", {}, "of its 2 classes the probability of class 1"),
    ],
)
def test_every_warning_names_the_retrain(
    csv: CSV, content: str, options: dict[str, Any], says: str
) -> None:
    """By its own name, where it has one, as in a study; and a file that is given twice, each."""
    paths = [csv("a", f"{CLASSES} 1,0.5,0.5 2,0.5,0.5"), csv("b", content)]
    names = {paths[0]: "dnn 1", paths[1]: "dnn 2"}
    options = {"prediction_column": "prediction|prediction_*"} | options
    told = "dnn 1" if content.startswith("id,prediction 1") else "dnn 2"
    found = compare({"dnn": paths}, CompareOptions(**options), names).warnings
    assert [warning.startswith(f"{told}: {says}") for warning in found] == [True]
    twice = compare({"dnn": [paths[0], paths[1], paths[1]]}, CompareOptions(**options), names)
    if told == "dnn 2":
        assert [warning.partition(":")[0] for warning in twice.warnings] == ["dnn 2", "dnn 2 (2)"]
        assert [model.name for model in twice.methods["dnn"].models][1:] == ["dnn 2", "dnn 2 (2)"]
