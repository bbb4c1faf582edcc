"""Measures of files that are small enough to be worked out by hand."""

import json
import math
from csv import DictReader
from pathlib import Path

import numpy as np
import pytest
from churn.conftest import CSV, HDF5, figures_of, pair_of, report_of

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import to_csv

OLD = "id,prediction,label 1,0.1,0 2,0.6,1 3,0.4,1 4,0.9,0 5,0.7,"
NEW = "id,prediction,label 1,0.2,0 2,0.5,1 3,0.6,1 4,0.4,0 5,0.3,"


def test_two_files_worked_out_by_hand(csv: CSV) -> None:
    pair = pair_of(csv("old", OLD), csv("new", NEW))
    # Differences 0.1, 0.1, 0.2, 0.5, 0.4.
    assert pair.overall.rows == 5
    assert pair.overall.churn == pytest.approx(1.3 / 5, abs=1e-12)
    assert pair.mean_square == pytest.approx((0.01 + 0.01 + 0.04 + 0.25 + 0.16) / 5)
    # From 0.5 on it is yes: old says n y n y y, new says n y y n n.
    assert pair.overall.disagreement == pytest.approx(3 / 5)
    # Rows 1 to 4 have labels n y y n: 3 and 4 turn from wrong to right, none from right to wrong.
    assert pair.overall.good_churn == pytest.approx(2 / 4)
    assert pair.overall.bad_churn == 0.0
    assert pair.overall.churn_ratio is None
    # Ranks of old 1 3 2 5 4, of new 1 4 5 3 2: 1 - 6 (0 + 1 + 9 + 4 + 4) / (5 (25 - 1)).
    assert pair.rank_correlation == pytest.approx(1 - 6 * 18 / 120, abs=1e-12)
    # The row of the labels is left out of these: 0.1 0.6 0.4 0.9 against 0 1 1 0, and so on.
    old = -(math.log(0.9) + math.log(0.6) + math.log(0.4) + math.log(0.1)) / 4
    new = -(math.log(0.8) + math.log(0.5) + math.log(0.6) + math.log(0.6)) / 4
    assert pair.log_loss_difference == pytest.approx(new - old)
    assert pair.calibration_difference == pytest.approx((1.7 - 2) / 4 - (2.0 - 2) / 4)


def test_each_models_own_figures(csv: CSV) -> None:
    first, second = figures_of([csv("old", OLD), csv("new", NEW)]).models
    assert (first.labelled, first.accuracy, second.accuracy) == (4, 2 / 4, 4 / 4)
    assert second.log_loss == pytest.approx(
        -(math.log(0.8) + math.log(0.5) + math.log(0.6) + math.log(0.6)) / 4
    )
    # Fifteen bins: 0.1, 0.6, 0.4 and 0.9 are each alone, and off by .1, .4, .6 and .9.
    assert first.calibration_error == pytest.approx((0.1 + 0.4 + 0.6 + 0.9) / 4)
    assert first.calibration == pytest.approx(0.0)


def test_quantiles_are_as_exact_as_promised(csv: CSV) -> None:
    quantiles = pair_of(csv("old", OLD), csv("new", NEW)).quantiles
    # In order 0.1 0.1 0.2 0.4 0.5.
    wanted = {"0.05": 0.1, "0.25": 0.1, "0.5": 0.2, "0.75": 0.4, "0.9": 0.5, "1": 0.5}
    for share, value in wanted.items():
        assert quantiles[share] == pytest.approx(value, rel=1 / 128)


def test_bad_churn_is_good_churn_the_other_way_round(csv: CSV) -> None:
    there = pair_of(csv("old", OLD), csv("new", NEW)).overall
    back = pair_of(csv("new", NEW), csv("old", OLD)).overall
    assert (back.good_churn, back.bad_churn) == (there.bad_churn, there.good_churn)
    assert back.churn_ratio == 0.0


def test_another_threshold_decides_otherwise(csv: CSV) -> None:
    # From 0.65 on: old n n n y y, new n n n n n; row 4 turns right, row 5 has no label.
    pair = pair_of(csv("old", OLD), csv("new", NEW), threshold=0.65)
    assert pair.overall.disagreement == pytest.approx(2 / 5)
    assert (pair.overall.good_churn, pair.overall.bad_churn) == (1 / 4, 0.0)


def test_the_same_file_twice_has_no_churn(csv: CSV) -> None:
    old = csv("old", OLD)
    pair = pair_of(old, old)
    assert (pair.overall.churn, pair.overall.disagreement) == (0.0, 0.0)
    assert pair.rank_correlation == pytest.approx(1.0)
    assert pair.quantiles["1"] == 0.0


CLASSES = "id,prediction_0,prediction_1,prediction_2,label"


def test_several_classes_worked_out_by_hand(csv: CSV) -> None:
    old = csv("old", f"{CLASSES} 1,0.7,0.2,0.1,0 2,0.1,0.8,0.1,2 3,0.3,0.3,0.4,2")
    new = csv("new", f"{CLASSES} 1,0.5,0.3,0.2,0 2,0.1,0.1,0.8,2 3,0.6,0.3,0.1,2")
    pair = pair_of(old, new)
    # Total variation: 0.2; 0.7; 0.3. Top classes 0 1 2 against 0 2 0, right 0 2 2.
    assert pair.overall.churn == pytest.approx((0.2 + 0.7 + 0.3) / 3, abs=1e-7)
    assert pair.overall.disagreement == pytest.approx(2 / 3)
    assert (pair.overall.good_churn, pair.overall.bad_churn) == (1 / 3, 1 / 3)
    assert pair.overall.churn_ratio == 1.0
    assert pair.rank_correlation is None
    first = figures_of([old, new]).models[0]
    assert first.log_loss == pytest.approx(-(math.log(0.7) + math.log(0.1) + math.log(0.4)) / 3)
    # Top classes with 0.7, 0.8 and 0.4; right, wrong, right.
    assert first.calibration == pytest.approx((0.7 + 0.8 + 0.4 - 2) / 3, abs=1e-6)
    assert first.calibration_error == pytest.approx((0.3 + 0.8 + 0.6) / 3, abs=1e-6)


def test_two_classes_are_one_probability(csv: CSV, hdf5: HDF5) -> None:
    ones = [hdf5(f"one-{name}", prediction=values) for name, values in PAIRS.items()]
    twos = [
        hdf5(f"two-{name}", prediction=np.stack([1 - np.array(values), values], axis=1))
        for name, values in PAIRS.items()
    ]
    one, two = pair_of(*ones).overall, pair_of(*twos).overall
    assert one.churn == pytest.approx(two.churn)
    assert one.disagreement == two.disagreement


PAIRS = {"a": [0.1, 0.6, 0.35, 0.9], "b": [0.2, 0.45, 0.65, 0.4]}


def test_churn_by_slice(csv: CSV) -> None:
    old = csv("old", "id,prediction,label,site 1,0.1,0,a 2,0.6,1,b 3,0.4,1,a 4,0.9,0,b 5,0.5,,")
    pair = pair_of(old, csv("new", NEW), slice_column="site")
    rows = [(name, each.rows) for name, each in pair.slices.items()]
    assert rows == [("a", 2), ("b", 2), ("(none)", 1)]
    assert pair.slices["a"].churn == pytest.approx((0.1 + 0.2) / 2)
    assert pair.slices["b"].churn == pytest.approx((0.1 + 0.5) / 2)
    assert (pair.slices["a"].good_churn, pair.slices["b"].good_churn) == (1 / 2, 1 / 2)


def test_slices_of_numbers_begin_at_the_edges(csv: CSV) -> None:
    counts = csv("counts", "id,slice 5,7 4,10 3,99.5 2,100 1,2000")
    pair = pair_of(csv("old", OLD), csv("new", NEW), slices=counts, slice_edges="10,100")
    assert {name: each.rows for name, each in pair.slices.items()} == {
        "under 10": 1,
        "10 to 100": 2,
        "100 and more": 2,
    }
    churn = [each.churn for each in pair.slices.values()]
    assert churn == pytest.approx([0.4, (0.5 + 0.2) / 2, (0.1 + 0.1) / 2])


def test_log_loss_by_slice(csv: CSV) -> None:
    files = [
        csv(name, f"id,prediction,label,site 1,{value},1,a 2,0.5,0,b 3,{value},0,b 4,0.5,,c")
        for name, value in {"a": 0.2, "b": 0.4, "c": 0.3, "d": 0.3}.items()
    ]
    report = compare({"old": files[:2], "new": files[2:]}, CompareOptions(slice_column="site"))
    assert dict(report.slices) == {"a": 1, "b": 2, "c": 1}
    of_b = [-(math.log(0.5) + math.log(1 - value)) / 2 for value in (0.2, 0.4, 0.3)]
    old, new = (report.by_slice[name] for name in ("old", "new"))
    assert [model.slices["b"] for model in report.methods["old"].models] == pytest.approx(of_b[:2])
    assert old["a"].means["log_loss"] == pytest.approx(-(math.log(0.2) + math.log(0.4)) / 2)
    assert old["b"].means["log_loss"] == pytest.approx(sum(of_b[:2]) / 2)
    change = new["b"].against_first["log_loss_difference"]
    assert change is not None
    assert change.mean == pytest.approx(of_b[2] - sum(of_b[:2]) / 2)
    assert change.interval is None  # of two retrains each
    # No label in c, so that nothing is known of its loss; its churn is.
    assert old["c"].means["log_loss"] is None
    assert old["c"].means["churn"] == 0
    assert "log_loss_difference" not in new["c"].against_first
    shown = report.to_dict()["methods"]["new"]["slices"]
    assert shown["b"]["against_first"]["log_loss_difference"]["mean"] == change.mean
    assert shown["b"]["log_loss"] == pytest.approx(of_b[2])


def test_four_retrains_give_an_interval_by_slice(csv: CSV) -> None:
    files = [
        csv(f"{value}", f"id,prediction,label,site 1,0.{value},1,a 2,0.5,0,b")
        for value in range(1, 9)
    ]
    report = compare({"old": files[:4], "new": files[4:]}, CompareOptions(slice_column="site"))
    change = report.by_slice["new"]["a"].against_first["log_loss_difference"]
    whole = report.against_first["new"]["log_loss_difference"]
    assert change is not None and whole is not None
    assert change.interval is not None and whole.interval is not None
    assert change.interval[0] < change.mean < change.interval[1] < 0
    # The other row, half of all, has the same loss everywhere.
    assert whole.interval == pytest.approx([end / 2 for end in change.interval])
    lines = list(DictReader(to_csv(report).splitlines()))
    (line,) = [
        each for each in lines if (each["slice"], each["measure"]) == ("a", "log_loss_difference")
    ]
    assert float(line["high"]) == change.interval[1]


def test_three_retrains_make_three_pairs(csv: CSV) -> None:
    files = [
        csv(name, f"id,prediction 1,{value}")
        for name, value in zip("abc", "248", strict=True)
        for value in [f"0.{value}"]
    ]
    report = report_of(files)
    figures = report.estimates["all"]["churn"]
    # Pairs differ by 0.2, 0.6 and 0.4; the one independent pair is the first.
    assert figures.mean == pytest.approx(0.4)
    assert figures.half_range == pytest.approx(0.2)
    assert (figures.repeats, figures.interval) == (3, None)
    assert report.independent["all"]["churn"].mean == pytest.approx(0.2)


def test_methods_are_compared_each_with_itself(csv: CSV, tmp_path: Path) -> None:
    a, b, c, d = (
        csv(name, f"id,prediction,label 1,{value},1")
        for name, value in {"a": 0.2, "b": 0.6, "c": 0.5, "d": 0.6}.items()
    )
    report = compare({"dnn": [a, b], "codistill": [c, d]}, CompareOptions())
    shown = json.loads(json.dumps(report.to_dict()))["methods"]
    assert shown["dnn"]["churn"]["mean"] == pytest.approx(0.4)
    assert shown["codistill"]["churn"]["mean"] == pytest.approx(0.1)
    change = shown["codistill"]["against_first"]
    assert change["churn_reduction"]["mean"] == pytest.approx(1 - 0.1 / 0.4)
    losses = -np.log([0.2, 0.6, 0.5, 0.6])
    assert change["log_loss_difference"]["mean"] == pytest.approx(
        losses[2:].mean() - losses[:2].mean()
    )


def test_good_and_bad_churn_are_means_over_independent_pairs(csv: CSV) -> None:
    # Right on 1, 3, 2 and 2 of four rows, always the first ones.
    files = [
        csv(
            f"right-{number}",
            "id,prediction,label "
            + " ".join(f"{row},{0.9 if row < right else 0.1},1" for row in range(4)),
        )
        for number, right in enumerate((1, 3, 2, 2))
    ]
    figures = report_of(files).estimates["all"]
    # The pairs 1 and 3, 2 and 2: two rows turn right in the first, none in the second.
    assert (figures["good_churn"].mean, figures["bad_churn"].mean) == (0.25, 0.0)
    assert (figures["good_churn"].half_range, figures["good_churn"].repeats) == (0.25, 2)
    assert figures["disagreement"].repeats == 6
