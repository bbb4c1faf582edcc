"""Columns and ids that could be read in two ways are refused or said, never guessed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from churn.conftest import CSV, HDF5, pair_of, report_of

from hvcod.churn.files.text import LONGEST, fixed
from hvcod.errors import HvcodError


def fails(message: str) -> "pytest.RaisesExc[HvcodError]":
    return pytest.RaisesExc(HvcodError, match=message)


def test_ids_of_another_name_are_not_ignored(csv: CSV, hdf5: HDF5) -> None:
    a = csv("a", "user_id,prediction 1,0.1 2,0.9")
    b = hdf5("b", uid=[2, 1], prediction=[0.8, 0.2])
    with fails("a.csv has no column id, but user_id: .* --id-column=user_id, or .* --by-row"):
        pair_of(a, b)
    with fails("b.h5 has no dataset 'user_id'; it has prediction, uid"):
        pair_of(a, b, id_column="user_id")
    report = report_of([a, b], id_column="user_id|uid")
    assert report.methods["all"].pairs[0].overall.churn == pytest.approx(0.1)
    assert "matched by uid or user_id as text; predictions from prediction, no labels" in str(
        report.matched
    )
    assert report.to_dict()["matched"]["columns"][str(a)]["id"] == "user_id"
    by_row = report_of([a, b], by_row=True)
    assert by_row.methods["all"].pairs[0].overall.churn == pytest.approx(0.7)
    assert "matched by the number of the row" in str(by_row.matched)


def test_a_column_without_a_name(csv: CSV) -> None:
    a, b = csv("a", ",prediction 0,0.1 1,0.9"), csv("b", ",prediction 1,0.8 0,0.2")
    with fails("but a column without a name: .*--id-column=''"):
        pair_of(a, b)
    assert pair_of(a, b, id_column="").overall.churn == pytest.approx(0.1)


def test_labels_and_slices_do_not_need_an_id(csv: CSV) -> None:
    a = csv("a", "prediction,label,site 0.1,0,x 0.9,1,y")
    assert pair_of(a, a, slice_column="site").overall.rows == 2
    with fails("but site: "):
        pair_of(a, a)


def test_decisions_are_not_probabilities(csv: CSV) -> None:
    a = csv("a", "id,prediction,probability 1,0,0.4 2,1,0.9")
    b = csv("b", "id,prediction,probability 1,1,0.6 2,1,0.8")
    with fails("all 2 predictions are 0 or 1, .*it also has probability: .*--prediction-column"):
        pair_of(a, b)
    probabilities = report_of([a, b], prediction_column="probability")
    assert probabilities.methods["all"].pairs[0].overall.churn == pytest.approx(0.15)
    assert not probabilities.warnings
    decisions = report_of([a, b], prediction_column="prediction")
    assert decisions.methods["all"].pairs[0].overall.churn == 0.5
    assert "a.csv: all 2 predictions are 0 or 1, like decisions" in decisions.warnings[0]


def test_decisions_beside_probabilities_of_another_file(csv: CSV) -> None:
    a, b = csv("a", "id,prediction 1,0 2,1"), csv("b", "id,prediction 1,0.25 2,1")
    with fails("a.csv: all 2 predictions are 0 or 1, .* those of other files are not: .*-column"):
        pair_of(a, b)
    assert pair_of(a, b, prediction_column="prediction").overall.churn == 0.125
    assert report_of([a, a]).methods["all"].pairs[0].overall.churn == 0


def test_two_kinds_of_predictions_in_one_file(csv: CSV) -> None:
    a = csv("a", "id,prediction,prediction_1,prediction_0 1,0.9,0.25,0.75")
    with fails("both prediction and prediction_0: .*prediction or .* 'prediction_[*]'"):
        pair_of(a, a)
    b = csv("b", "id,c_cat,c_dog 1,0.5,0.5")
    with fails(r"b.csv has no column 'prediction_\*'; it has id, c_cat, c_dog"):
        pair_of(a, b, prediction_column="prediction_*")
    with fails("a.csv has no column 'c_cat,c_dog'; .*--prediction-column='c_cat,c_dog[|]NAME'"):
        pair_of(a, b, prediction_column="c_cat,c_dog")
    assert report_of([a, a], prediction_column="prediction_*").classes == 2
    both = pair_of(a, b, prediction_column="c_dog,c_cat|prediction_*")
    assert both.overall.churn == pytest.approx(0.25)
    assert report_of([b, b], prediction_column="c_dog,c_cat").classes == 2


def test_two_classes_beside_a_single_number(csv: CSV) -> None:
    a = csv("a", "id,prediction 1,0.25")
    b = csv("b", "id,prediction_0,prediction_1 1,0.5,0.5")
    report = report_of([a, b])
    assert report.methods["all"].pairs[0].overall.churn == pytest.approx(0.25)
    assert report.warnings == [
        f"{b}: of its 2 classes the probability of class 1 is compared with the other files"
    ]


def test_seven_and_its_zeros(csv: CSV, hdf5: HDF5) -> None:
    a = csv("a", "id,prediction 7,0.1 07,0.2 007,0.3")
    b = hdf5("b", id=np.array([b"007", b"07", b"7"]), prediction=[0.3, 0.2, 0.1])
    assert pair_of(a, b).overall.churn == 0.0
    with fails(r"a.csv: 2 of \d rows repeat an id"):
        pair_of(a, b, ids="number")


def test_ids_that_are_long_only_later(csv: CSV, hdf5: HDF5) -> None:
    """Too many rows for one block: the first ids do not decide for all."""
    ids = [*range(70_000), 2**63, 2**64 - 1]
    a = csv("a", " ".join(["id,prediction", *(f"{each},0.5" for each in ids)]))
    b = hdf5("b", id=np.array(ids, dtype=np.uint64)[::-1], prediction=np.full(len(ids), 0.25))
    report = report_of([a, b])
    assert (report.rows, report.matched.kind) == (len(ids), "text")
    with fails(r"the id \d{19,20} is not an integer of 64 bits: use --ids text"):
        report_of([a, b], ids="number")


@pytest.mark.parametrize("ids", ["1.0 2.0 3.0", "01 02 03", "1e0 +2 3."])
def test_numbers_written_in_another_way(csv: CSV, hdf5: HDF5, ids: str) -> None:
    a = csv("a", " ".join(["id,prediction", *(f"{each},0.5" for each in ids.split())]))
    b = hdf5("b", id=[3, 1, 2], prediction=[0.5, 0.25, 0.5])
    with fails("3 of 3 rows are missing .*--ids number compares numbers"):
        pair_of(a, b)
    assert pair_of(a, b, ids="number").overall.churn == pytest.approx(0.25 / 3)


def test_floats_as_ids(hdf5: HDF5, csv: CSV) -> None:
    a, b = hdf5("a", id=[1.0, 2.0], prediction=[0.5, 0.5]), csv("b", "id,prediction 2,0.5 1,0.5")
    with fails("a.h5 has floating-point numbers as ids, such as 1.0: --ids number"):
        pair_of(a, b)
    assert pair_of(a, b, ids="number").overall.rows == 2
    c = hdf5("c", id=[1.0, np.nan], prediction=[0.5, 0.5])
    with fails("c.h5: 1 of 2 rows have no id"):
        pair_of(c, b, ids="number")
    with fails("the id 1.5 is not an integer of 64 bits"):
        pair_of(hdf5("d", id=[1.5], prediction=[0.5]), b, ids="number")


def test_missing_ids(csv: CSV, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(
        pa.table({"id": [1, None], "prediction": [0.5, 0.5]}), tmp_path / "b"
    )
    a = csv("a", "id,prediction 1,0.5 ,0.5")
    with fails("a.csv: 1 of 2 rows have no id: --by-row .*b: 1 of 2 rows have no id"):
        pair_of(a, tmp_path / "b")


def test_blanks_around_ids_are_left_out_and_counted(tmp_path: Path, csv: CSV) -> None:
    (tmp_path / "b.csv").write_text("id,prediction\nx ,0.5\n y,0.5\n")
    report = report_of([csv("a", "id,prediction x,0.5 y,0.25"), tmp_path / "b.csv"])
    assert report.rows == 2
    assert "b.csv: 2 of 2 ids have blanks around them, left out" in report.warnings[0]


def test_one_long_id_does_not_make_all_ids_long(csv: CSV) -> None:
    texts = [b"%d" % number for number in range(1000)] + [b"x" * 500_000, b"x" * 499_999 + b"y"]
    array = fixed(texts)
    assert array.dtype.itemsize == LONGEST
    assert len(set(array.tolist())) == len(texts)
    rows = " ".join(["id,prediction", *(f"{text.decode()},0.5" for text in texts)])
    assert report_of([csv("a", rows), csv("b", rows)]).rows == len(texts)


def test_labels_that_differ_say_how_to_go_on(csv: CSV) -> None:
    a, b = (csv(name, f"id,prediction,label 1,0.5,{name}") for name in "01")
    with fails("1 of 1 labels differ .*--no-labels"):
        pair_of(a, b)
    assert pair_of(a, b, labels=False).overall.rows == 1
