"""The gate of a retrain: measures by hand, intervals that hold, verdicts, and what is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from churn.conftest import CSV, HDF5
from scipy.stats import binom, t

from hvcod.churn.gate.gate import gate
from hvcod.churn.gate.intervals import FEWEST_ROWS, of_mean, of_share
from hvcod.churn.gate.judging import Limit, judgements
from hvcod.churn.gate.measures import Candidate, Compared, Figure
from hvcod.churn.gate.report import GateReport, reason
from hvcod.churn.options import CompareOptions, GateOptions
from hvcod.churn.page.gate import page
from hvcod.cli.churn.verdict import table
from hvcod.errors import HvcodError, UsageError

OLD = "id,prediction,label,site 1,0.1,0,a 2,0.6,1,a 3,0.4,1,a 4,0.9,0,b 5,0.7,,c"
NEW = "id,prediction,label 1,0.2,0 2,0.5,1 3,0.6,1 4,0.4,0 5,0.3,"
Floats = npt.NDArray[np.float64]


def judged(
    production: Path, *candidates: Path, compare: dict[str, Any] | None = None, **limits: Any
) -> GateReport:
    """The report of a gate; without limits one that everything keeps."""
    options = GateOptions(**(limits or {"max_churn": 1.0}))
    return gate(production, candidates, options, CompareOptions(**(compare or {})))


def test_measures_worked_out_by_hand(csv: CSV) -> None:
    report = judged(csv("old", OLD), csv("new", NEW), compare={"slice_column": "site"})
    (candidate,) = report.candidates
    overall = candidate.overall
    # Differences 0.1 0.1 0.2 0.5 0.4; decisions n y n y y, then n y y n n; labels n y y n.
    assert overall.churn.estimate == pytest.approx(1.3 / 5)
    assert overall.flips.estimate == 3 / 5
    assert (overall.churn.rows, overall.flips.rows, overall.gain.rows) == (5, 5, 4)
    assert (overall.good_flips.estimate, overall.bad_flips.estimate) == (2 / 4, 0)
    old = -(math.log(0.9) + math.log(0.6) + math.log(0.4) + math.log(0.1)) / 4
    new = -(math.log(0.8) + math.log(0.5) + math.log(0.6) + math.log(0.6)) / 4
    assert overall.gain.estimate == pytest.approx(old - new)
    assert report.production.log_loss == pytest.approx(old)
    assert candidate.model.log_loss == pytest.approx(new)
    assert dict(report.slices) == {"a": 3, "b": 1, "c": 1}
    a, c = candidate.slices["a"], candidate.slices["c"]
    assert a.churn.estimate == pytest.approx(0.4 / 3)
    assert a.gain.estimate == pytest.approx(
        (math.log(0.8 / 0.9) + math.log(0.5 / 0.6) + math.log(0.6 / 0.4)) / 3
    )
    assert (c.flips.estimate, c.gain.estimate, c.gain.rows) == (1.0, None, 0)
    # Five rows are too few for the interval of a mean.
    assert overall.churn.interval is None


def test_several_classes(csv: CSV) -> None:
    head = "id,prediction_0,prediction_1,prediction_2,label"
    old = csv("old", f"{head} 1,0.5,0.3,0.2,0 2,0.2,0.2,0.6,1")
    new = csv("new", f"{head} 1,0.2,0.6,0.2,0 2,0.2,0.2,0.6,1")
    overall = judged(old, new).candidates[0].overall
    assert overall.churn.estimate == pytest.approx(0.3 / 2)
    assert (overall.flips.estimate, overall.bad_flips.estimate) == (0.5, 0.5)
    assert overall.gain.estimate == pytest.approx(math.log(0.2 / 0.5) / 2)


def test_the_interval_of_a_share_is_that_of_the_binomial() -> None:
    for hits, rows in ((0, 20), (3, 20), (20, 20), (35, 10_000)):
        interval = of_share(hits, rows, 0.95)
        assert interval is not None
        low, high = interval
        # At each end, a share of such a size or more extreme has a chance of 2.5%.
        assert low == 0 if not hits else binom.sf(hits - 1, rows, low) == pytest.approx(0.025)
        assert high == 1 if hits == rows else binom.cdf(hits, rows, high) == pytest.approx(0.025)
    assert of_share(0, 0, 0.95) is None


def sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


def population(noise: float, odd: float) -> dict[str, Floats]:
    """The churn and the gain of each of 50,000 rows; a share of them differs wildly."""
    rng = np.random.default_rng(1)
    logits = rng.normal(-1.5, 1.3, 50_000)
    old, new = (logits + noise * rng.normal(size=len(logits)) for _ in range(2))
    wild = rng.random(len(logits)) < odd
    old, new = sigmoid(old), sigmoid(np.where(wild, logits + 3 * rng.normal(size=len(logits)), new))
    right = rng.random(len(logits)) < sigmoid(logits)
    losses = [-np.log(np.where(right, each, 1 - each)) for each in (old, new)]
    return {"churn": np.abs(old - new), "gain": losses[0] - losses[1]}


@pytest.mark.parametrize(
    ("noise", "odd", "rows"), [(0.2, 0, 30), (0.2, 0, 300), (1, 0, 100), (0.1, 0.05, 1000)]
)
def test_intervals_cover_the_true_value(noise: float, odd: float, rows: int) -> None:
    """Each end misses it in about 2.5% of 1500 samples, and never in more than 4%."""
    rng = np.random.default_rng(2)
    for values in population(noise, odd).values():
        samples = values[rng.integers(len(values), size=(1500, rows))]
        powers = np.stack([(samples**power).sum(axis=1) for power in range(4)], axis=1)
        intervals = np.array([of_mean(each, 0.95) for each in powers])
        above, below = (intervals[:, 0] > values.mean()), (intervals[:, 1] < values.mean())
        assert max(above.mean(), below.mean()) < 0.04
        assert above.mean() + below.mean() > 0.02  # not so wide that it decides nothing


def test_the_ends_are_those_of_hall_and_student() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    interval = of_mean(np.array([(values**power).sum() for power in range(4)]), 0.95)
    assert interval is not None
    reach, error = float(t.ppf(0.975, 39)), values.std(ddof=1) / math.sqrt(40)
    skewness = float(((values - values.mean()) ** 3).mean() / values.std() ** 3) / math.sqrt(40)
    # Skewed to the right: Student's interval reaches further down, Hall's further up, where his
    # transformation of Student's ratio is that quantile.
    assert interval[0] == pytest.approx(values.mean() - reach * error)
    ratio = (values.mean() - interval[1]) / error
    transformed = ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / 6
    assert transformed == pytest.approx(-reach)


def test_few_and_equal_values() -> None:
    ones = np.array([1.0, 0.5, 0.25, 0.125])
    assert of_mean((FEWEST_ROWS - 1) * ones, 0.95) is None
    assert of_mean(FEWEST_ROWS * ones, 0.95) == (0.5, 0.5)
    assert of_mean(np.zeros(4), 0.95) is None


def test_no_end_of_churn_is_impossible(csv: CSV) -> None:
    rows = " ".join(f"{number},0.5" for number in range(40))
    old, new = (csv(name, f"id,prediction 40,{value} {rows}") for name, value in ONE_ROW.items())
    interval = judged(old, new).candidates[0].overall.churn.interval
    assert interval is not None
    assert interval[0] == 0 < interval[1]  # Student's would begin below 0.


ONE_ROW = {"old": 0.1, "new": 0.9}


def test_a_higher_confidence_is_a_wider_interval(two: tuple[Path, Path]) -> None:
    usual, wide = (
        judged(*two, max_churn=1.0, confidence=level).candidates[0].overall
        for level in (0.95, 0.99)
    )
    for measure in ("churn", "flips", "gain"):
        inner, outer = getattr(usual, measure).interval, getattr(wide, measure).interval
        assert outer[0] < inner[0] < inner[1] < outer[1]


FIGURE = Figure(0.03, (0.02, 0.04), 1000)


@pytest.mark.parametrize(
    ("measure", "value", "by_interval", "by_estimate"),
    [
        ("churn", 0.05, "kept", "kept"),
        ("churn", 0.04, "kept", "kept"),
        ("churn", 0.035, "undecided", "kept"),
        ("churn", 0.03, "undecided", "kept"),
        ("churn", 0.025, "undecided", "broken"),
        ("churn", 0.01, "broken", "broken"),
        ("gain", 0.02, "kept", "kept"),
        ("gain", 0.025, "undecided", "kept"),
        ("gain", 0.035, "undecided", "broken"),
        ("gain", 0.05, "broken", "broken"),
        ("gain", -1, "kept", "kept"),
    ],
)
def test_a_limit_is_judged_by_the_interval_or_by_the_estimate(
    measure: str, value: float, by_interval: str, by_estimate: str
) -> None:
    candidate = of_figure(FIGURE)
    for judge, wanted in (("interval", by_interval), ("estimate", by_estimate)):
        limit = Limit(measure, value, by_slice=False)
        (found,) = judgements(candidate, [limit], GateOptions(judge=judge))
        assert found.verdict == wanted


def of_figure(figure: Figure, **slices: Figure) -> Candidate:
    """A candidate with the same figure for all measures."""
    everything = {name: Compared(each, each, each, each, each) for name, each in slices.items()}
    model: Any = None
    return Candidate(model, Compared(*[figure] * 5), everything, {})


def test_an_undecided_limit_names_the_rows_that_would_decide() -> None:
    (found,) = judgements(of_figure(FIGURE), [Limit("churn", 0.035, False)], GateOptions())
    # The upper half of the interval is 0.01 wide, and must be half as wide: four times the rows.
    assert found.rows_needed == pytest.approx(4000, abs=1)
    assert reason(found) == (
        "churn: undecided, 0.03000 [0.02000, 0.04000], limit: at most 0.035; about 4,000 rows "
        "would decide if the estimate stays"
    )
    (found,) = judgements(of_figure(FIGURE), [Limit("churn", 0.03, False)], GateOptions())
    assert found.rows_needed is None
    # Towards the limit, this interval reaches 0.02 up and 0.01 down.
    skewed = of_figure(Figure(0.03, (0.02, 0.05), 1000))
    for limit, rows in ((0.04, 4000), (0.025, 4000)):
        (found,) = judgements(skewed, [Limit("churn", limit, False)], GateOptions())
        assert found.rows_needed == pytest.approx(rows, abs=1)


def test_slices_are_judged_each_and_small_ones_by_choice() -> None:
    candidate = of_figure(
        FIGURE, large=FIGURE, small=Figure(0.2, None, 12), empty=Figure(None, None, 0)
    )
    limits = [Limit("churn", 0.05, by_slice=True)]
    found = list(judgements(candidate, limits, GateOptions()))
    shown = [(each.slice, each.verdict) for each in found]
    assert shown == [("large", "kept"), ("small", "undecided"), ("empty", "not judged")]
    assert "12 rows are too few for an interval" in reason(found[1])
    found = list(judgements(candidate, limits, GateOptions(slice_min_rows=100)))
    assert [each.verdict for each in found] == ["kept", "not judged", "not judged"]
    assert reason(found[1]) == "churn of slice small: not judged, 12 rows"
    found = list(judgements(candidate, limits, GateOptions(slice_min_rows=12)))
    assert [each.verdict for each in found] == ["kept", "undecided", "not judged"]


Model = Callable[[str, float], Path]


@pytest.fixture
def model(hdf5: HDF5) -> Model:
    """Writes the predictions of a model with some noise for 2000 rows; `old` is always the same."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1, 2000)
    labels = rng.random(2000) < sigmoid(logits)
    sites = np.where(rng.random(2000) < 0.02, b"rare", b"usual")

    def write(name: str, noise: float) -> Path:
        own = logits + noise * np.random.default_rng(len(name)).normal(size=2000)
        columns = {"label": labels.astype(int), "site": sites}
        return hdf5(name, id=np.arange(2000), prediction=sigmoid(own), **columns)

    return write


@pytest.fixture
def two(model: Model) -> tuple[Path, Path]:
    return model("old", 0.2), model("close", 0.1)


def test_the_best_of_those_that_pass_is_named(model: Model) -> None:
    old, close, worse, far = (
        model(name, noise)
        for name, noise in {"old": 0.2, "close": 0.05, "a-worse": 0.3, "further": 2.0}.items()
    )
    report = judged(old, far, worse, close, max_churn=0.1)
    assert [report.passes(str(each)) for each in (far, worse, close)] == [False, True, True]
    assert report.best == str(close)
    assert report.answer == f"PASSED: 2 of 3; the best is {close} (smallest churn)"
    by_gain = judged(old, worse, close, max_churn=0.1, best_by="gain")
    gains = {each.name: each.overall.gain.estimate for each in by_gain.candidates}
    assert by_gain.best == max(gains, key=lambda name: gains[name] or 0)
    none = judged(old, far, worse, max_churn=0.001)
    assert (none.passed, none.best, none.answer) == (False, None, "REFUSED: none of 2 passes")


def test_a_small_slice_refuses_until_it_is_left_out(model: Model) -> None:
    files = model("old", 0.2), model("close", 0.1)
    compare: dict[str, Any] = {"slice_column": "site"}
    # Rare rows are some forty, on which flips of 10% cannot be excluded.
    report = judged(*files, compare=compare, slice_max_flips=0.1)
    assert report.slices["rare"] < 60
    assert [(each.slice, each.verdict) for each in report.judgements[str(files[1])]] == [
        ("rare", "undecided"),
        ("usual", "kept"),
    ]
    assert not report.passed
    options: dict[str, Any] = {"slice_max_flips": 0.1, "slice_min_rows": 100}
    assert judged(*files, compare=compare, **options).passed
    assert judged(*files, compare=compare, slice_max_flips=0.1, judge="estimate").passed


def test_the_tables_and_the_page_say_how_it_was_judged(two: tuple[Path, Path]) -> None:
    options: dict[str, Any] = {"max_churn": 0.05, "min_gain": 0.5, "slice_max_flips": 0.1}
    options["compare"] = {"slice_column": "site"}
    report = judged(*two, **options)
    for shown in (table(report), page(report)):
        assert "whole 95% interval over the rows keeps it" in shown
        assert "gain: broken" in shown
        assert "flips of slice rare: undecided" in shown
        assert f"iles in {two[1].parent}" in shown
    assert page(report).count("<svg") == 3
    assert f"REFUSED: {two[1].name}<" in page(report)
    assert table(report).splitlines()[-1] == f"REFUSED: {two[1]}"
    assert "(--judge estimate)" in table(judged(*two, **options, judge="estimate"))
    assert "rare" not in table(judged(*two, max_churn=0.05))


def test_tables_name_files_without_the_folder_that_all_share(two: tuple[Path, Path]) -> None:
    report = judged(*two, max_churn=0.05)
    assert report.folder == str(two[0].parent)
    short = report.below_folder()
    assert (short.production.name, short.best) == (two[0].name, two[1].name)
    assert report.best == str(two[1])
    apart = [replace(each, model=replace(each.model, name="b.h5")) for each in report.candidates]
    mixed = replace(report, candidates=apart)  # An absolute path and one in the current folder.
    assert mixed.folder == ""
    assert mixed.below_folder() is mixed


def test_names_cannot_do_harm_on_the_page(model: Model, hdf5: HDF5) -> None:
    bad = hdf5("<img src=x onerror=alert(1)>", prediction=[0.5] * 40)
    assert "<img" not in page(judged(hdf5("old", prediction=[0.4] * 40), bad))


def test_json_has_every_figure_and_verdict(two: tuple[Path, Path]) -> None:
    report = judged(*two, compare={"slice_column": "site"}, max_churn=0.05, slice_min_gain=-0.1)
    shown = json.loads(json.dumps(report.to_dict()))
    assert (shown["passed"], shown["best"], shown["judge"]) == (True, str(two[1]), "interval")
    assert shown["limits"] == {"max_churn": 0.05, "slice_min_gain": -0.1}
    (candidate,) = shown["candidates"]
    assert set(candidate["churn"]) == {"estimate", "low", "high", "rows"}
    assert candidate["slices"]["rare"]["gain"]["rows"] == shown["slice_rows"]["rare"]
    verdicts = [(each["measure"], each["slice"]) for each in candidate["judgements"]]
    assert verdicts == [("churn", None), ("gain", "rare"), ("gain", "usual")]
    assert {each["verdict"] for each in candidate["judgements"]} == {"kept"}


def test_production_as_its_own_candidate_is_told(two: tuple[Path, Path]) -> None:
    report = judged(two[0], two[0], max_churn=0.05)
    assert report.warnings == [
        f"{two[0]} (2) predicts exactly as production does: is it another model?"
    ]


@pytest.mark.parametrize(
    ("options", "compare", "kind", "message"),
    [
        ({"judge": "estimate"}, {}, UsageError, "give a limit: --max-churn, --max-flips or"),
        ({"min_gain": 0.0}, {}, UsageError, "--min-gain needs labels.*no row of the files has one"),
        ({"min_gain": 0.0}, {"labels": False}, UsageError, "--min-gain needs.*--no-labels leaves"),
        ({"max_churn": 1.0, "best_by": "gain"}, {}, UsageError, "--best-by gain needs labels"),
        ({"slice_max_churn": 1.0}, {}, UsageError, "--slice-max-churn needs slices: --slice-col"),
        ({"max_churn": 1.0}, {"slice_edges": "1,2"}, UsageError, "--slice-edges needs"),
        (
            {"slice_max_churn": 1.0, "slice_min_rows": 9},
            {"slice_column": "site"},
            HvcodError,
            "--slice-max-churn would judge nothing: no slice has 9 rows",
        ),
    ],
)
def test_mistakes_are_told(
    csv: CSV,
    options: dict[str, Any],
    compare: dict[str, Any],
    kind: type[HvcodError],
    message: str,
) -> None:
    old = csv("old", "id,prediction,label,site 1,0.2,,a 2,0.3,,b")
    new = csv("new", "id,prediction,label,site 1,0.3,,a 2,0.3,,b")
    with pytest.raises(kind, match=message) as caught:
        judged(old, new, compare=compare, **options)
    assert type(caught.value) is kind
