"""Retrains compared with the model in production, in numbers that can be worked out by hand."""

import json
from csv import DictReader
from pathlib import Path

import numpy as np
import pytest
from churn.conftest import CSV

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.page.charts import trade_off
from hvcod.churn.page.page import page
from hvcod.churn.report import Report, to_csv
from hvcod.churn.statistics import reduction_of_retrains
from hvcod.cli.churn.table import table

HEAD = "id,prediction,label,site"
PRODUCTION = f"{HEAD} 1,0.1,0,a 2,0.6,1,a 3,0.4,1,b 4,0.9,0,b"
NEAR = [f"{HEAD} 1,0.{n},0,a 2,0.7,1,a 3,0.6,1,b 4,0.8,0,b" for n in (2, 3, 4)]
FAR = [f"{HEAD} 1,0.8,0,a 2,0.2,1,a 3,0.{n},1,b 4,0.2,0,b" for n in (1, 2)]


@pytest.fixture
def report(csv: CSV) -> Report:
    """Two retrains far from the model in production, and three that are nearer."""
    methods = {
        "far": [csv(f"far{n}", words) for n, words in enumerate(FAR)],
        "near": [csv(f"near{n}", words) for n, words in enumerate(NEAR)],
    }
    production = csv("production", PRODUCTION)
    options = CompareOptions(slice_column="site")
    return compare(methods, options, {production: "monday"}, production)


def test_against_production(report: Report) -> None:
    far, near = report.against_production.values()
    assert report.production is not None
    assert (report.production.name, report.production.accuracy) == ("monday", 0.5)
    # Near: 0.1, 0.2 or 0.3 in the first row, then 0.1, 0.2, 0.1; row 3 turns right.
    churns = [(first + 0.4) / 4 for first in (0.1, 0.2, 0.3)]
    assert far["churn"] is not None
    assert near["churn"] is not None
    assert near["churn"].mean == pytest.approx(np.mean(churns))
    assert near["churn"].repeats == 3
    # Student's with two degrees of freedom: 4.3027 standard errors.
    reach = 4.302653 * np.std(churns, ddof=1) / np.sqrt(3)
    assert near["churn"].interval == pytest.approx(
        (np.mean(churns) - reach, np.mean(churns) + reach)
    )
    # Far: 0.7, 0.4, 0.3 or 0.2, 0.7; rows 1 and 2 turn wrong, 4 turns right.
    assert far["churn"].mean == pytest.approx((0.7 + 0.4 + 0.25 + 0.7) / 4)
    assert far["churn"].interval is None
    shares = ("disagreement", "good_churn", "bad_churn", "churn_ratio")
    means = [estimate and estimate.mean for name in shares for estimate in [far[name]]]
    assert means == [3 / 4, 1 / 4, 2 / 4, 1 / 2]
    # Without bad churn there is no ratio, and it is not invented.
    assert [name for name in shares if name in near] == list(shares[:3])
    reduction = near["churn_reduction"]
    assert reduction is not None
    assert far["churn"] is not None
    assert reduction.mean == pytest.approx(1 - np.mean(churns) / far["churn"].mean)
    assert "churn_reduction" not in far
    loss = near["log_loss_difference"]
    assert loss is not None
    ours = [model.log_loss or 0 for model in report.methods["near"].models]
    assert loss.mean == pytest.approx(np.mean(ours) - (report.production.log_loss or 0))


def test_production_is_no_retrain_of_any_method(csv: CSV, report: Report) -> None:
    """All that was known without it stays as it was."""
    paths = {name: [model.name for model in each.models] for name, each in report.methods.items()}
    methods = {name: [Path(path) for path in files] for name, files in paths.items()}
    alone = compare(methods, CompareOptions(slice_column="site"))
    assert alone.estimates == report.estimates
    assert alone.against_first == report.against_first
    assert alone.to_dict()["production"] is None
    assert alone.to_dict()["methods"]["near"]["against_production"] == {}
    shown = (table(alone) + page(alone) + to_csv(alone)).lower()
    assert "against production" not in shown
    assert "against_production" not in shown


def test_one_retrain_is_enough_beside_production(csv: CSV) -> None:
    report = compare(
        {"new": [csv("new", NEAR[0])]}, CompareOptions(), {}, csv("production", PRODUCTION)
    )
    (changes,) = report.against_production.values()
    assert changes["churn"] is not None
    assert changes["churn"].mean == pytest.approx(0.5 / 4)
    assert "against production" in table(report)
    assert page(report).count("<svg") == 1  # there is no churn between retrains


def test_every_output_has_it(report: Report) -> None:
    assert report.production is not None
    found = json.loads(json.dumps(report.to_dict()))
    assert found["production"]["name"] == "monday"
    of_near = found["methods"]["near"]["against_production"]
    assert [pair["first"] for pair in of_near["pairs"]] == ["monday"] * 3
    mean = of_near["churn"]["mean"]
    lines = list(DictReader(to_csv(report).splitlines()))
    of_production = [line for line in lines if line["of"] == "against production"]
    values = {(line["method"], line["measure"]): line["value"] for line in of_production}
    assert float(values["near", "churn"]) == pytest.approx(mean)
    slices = found["methods"]["near"]["slices"]
    assert slices["a"]["churn_against_production"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.3) / 6)
    (of_slice,) = (
        float(line["value"])
        for line in lines
        if (line["method"], line["slice"], line["measure"])
        == ("near", "b", "churn_against_production")
    )
    assert of_slice == pytest.approx(0.3 / 2)
    about = f"against production (monday: log loss {report.production.log_loss:.4f})"
    assert about in table(report)
    shown = page(report)
    assert "Against production" in shown
    assert f"{mean:.4f}" in shown
    drawn = trade_off(report, "churn against production")
    assert drawn is not None
    assert f"near: churn {mean:.4f}" in drawn


def test_the_interval_of_a_reduction_against_a_fixed_model_holds() -> None:
    """The retrains' churns are independent: 95% of the intervals cover the true reduction."""
    rng = np.random.default_rng(4)
    ours, theirs = (mean + 0.004 * rng.normal(size=(200, 6)) for mean in (0.02, 0.04))
    intervals = [reduction_of_retrains(*map(list, both)) for both in zip(ours, theirs, strict=True)]
    covered = [
        estimate is not None
        and estimate.interval is not None
        and estimate.interval[0] <= 0.5 <= estimate.interval[1]
        for estimate in intervals
    ]
    assert 0.92 < np.mean(covered) < 0.98
