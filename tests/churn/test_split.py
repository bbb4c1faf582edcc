"""Churn split by its source, of retrains whose sources of churn are known."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from churn.test_statistics import coverage

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.page.page import page
from hvcod.churn.report import Report, to_csv
from hvcod.churn.split import FLOORS, floor_of
from hvcod.churn.statistics import reduction
from hvcod.cli.churn.table import table
from hvcod.cli.tables import WIDTH

ROWS = 4000
STRENGTHS = {"initialisation": 0.01, "order": 0.02, "data": 0.04}
TOTAL = sum(strength**2 for strength in STRENGTHS.values())


def retrains(
    rng: np.random.Generator, differing: Sequence[str], count: int, rows: int
) -> npt.NDArray[np.float64]:
    """Predictions to which each source adds noise of its strength, [count, rows]."""
    predicted = np.full((count, rows), 0.5)
    for source, strength in STRENGTHS.items():
        noise = rng.normal(size=(count, rows)) * strength
        predicted += noise if source in differing else noise[0]
    return np.asarray(np.clip(predicted, 0, 1))


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A study of two methods; the second one's data have no influence."""
    folder = tmp_path_factory.mktemp("studied")
    rng, methods = np.random.default_rng(0), dict[str, list[Path]]()
    for name in ("dnn", "codistill", *FLOORS, "codistill:only-data", "codistill:same-data"):
        base, floor = floor_of(name)
        differing = set(FLOORS[floor] if floor else STRENGTHS)
        if base == "codistill":
            differing -= {"data"}
        found = retrains(rng, sorted(differing), 4, ROWS)
        methods[name] = []
        for number, each in enumerate(found):
            methods[name].append(folder / f"{name}-{number}.h5")
            with h5py.File(methods[name][-1], "w") as file:
                file["prediction"] = each
    report = compare(methods, CompareOptions(labels=False))
    return replace(report, data_sample="bootstrap", note="each from its <own> sample")


def test_shares_are_those_of_the_sources(studied: Report) -> None:
    split = studied.sources["dnn"]
    for source, strength in STRENGTHS.items():
        share = strength**2 / TOTAL
        figures = split[source]
        assert figures.alone is not None
        assert figures.alone_squared is not None
        assert figures.shared is not None
        assert figures.alone_squared.mean == pytest.approx(share, rel=0.08)
        # Of normal noise churn grows with its deviation.
        assert figures.alone.mean == pytest.approx(share**0.5, rel=0.05)
        assert figures.shared.mean == pytest.approx(1 - (1 - share) ** 0.5, abs=0.03)
        assert figures.alone.interval is not None
        assert figures.alone.interval[0] < figures.alone.mean < figures.alone.interval[1]
    squares = [split[source].alone_squared for source in STRENGTHS]
    assert sum(each.mean for each in squares if each) == pytest.approx(1, abs=0.05)


def test_each_method_has_its_own_split_as_far_as_its_floors_go(studied: Report) -> None:
    assert list(studied.sources) == ["dnn", "codistill"]
    order, data = (studied.sources["codistill"][source] for source in ("order", "data"))
    assert (order.alone, order.shared) == (None, None)
    assert data.alone is None  # these retrains are equal: no logarithm of a ratio
    assert data.shared is not None
    assert data.shared.mean == pytest.approx(0, abs=0.03)


def test_without_samples_there_are_two_sources(studied: Report) -> None:
    methods = {name: studied.methods[name] for name in ("dnn", "same", "same-init", "same-order")}
    report = replace(studied, methods=methods, data_sample="none")
    split = report.sources["dnn"]
    assert list(split) == ["initialisation", "order"]
    # Retrains with the same order differ in their initialisation alone; so both tell the same.
    alone, shared = split["initialisation"].alone, split["order"].shared
    assert alone is not None
    assert shared is not None
    assert alone.mean == pytest.approx(1 - shared.mean)
    assert not replace(report, methods={"dnn": methods["dnn"]}).sources
    assert not replace(report, methods={"same": methods["same"]}).sources
    # Files do not tell whether same-order differs in the data, too.
    assert not replace(report, data_sample=None).sources


def test_a_split_is_shown_everywhere(studied: Report) -> None:
    shown, html = table(studied), page(studied)
    for text in (shown, html):
        assert "dnn: initialisation" in text
        assert "churn if it alone differs" in text
    assert "each from its <own> sample" in shown
    assert max(map(len, shown.splitlines())) <= WIDTH  # with eleven methods, too
    assert "each from its &lt;own&gt; sample" in html
    # Pictures compare methods one could choose.
    assert "<h2>Two retrains: codistill</h2>" in html
    assert "<h2>Two retrains: only-init</h2>" not in html
    told = studied.to_dict()
    assert (told["data_sample"], told["note"]) == ("bootstrap", "each from its <own> sample")
    figures = told["sources"]["dnn"]["order"]["alone_squared"]
    assert figures["mean"] == pytest.approx(0.0004 / TOTAL, rel=0.08)
    line = next(each for each in to_csv(studied).splitlines() if "order alone_squared" in each)
    assert line.startswith("dnn,source,,,,order alone_squared,0.")


def test_churn_of_windows_is_shown_by_the_days_between_them(studied: Report) -> None:
    report = replace(studied, data_sample="days")
    moving = {"dnn", "codistill", "same-init", "same-order", "only-data", "codistill:only-data"}
    assert report.days_apart.keys() == moving
    pairs = {(p.first, p.second): p.overall.churn or 0 for p in report.methods["dnn"].pairs}
    models = [model.name for model in report.methods["dnn"].models]
    one = [pairs[pair] for pair in pairwise(models)]
    assert report.days_apart["dnn"][1] == pytest.approx(sum(one) / 3)
    assert report.days_apart["dnn"][3] == pytest.approx(pairs[models[0], models[3]])
    assert not studied.days_apart
    for text in (table(report), page(report)):
        assert "days apart" in text
    assert "dnn,pairs of windows,,,,churn 3 days apart" in to_csv(report)


def test_intervals_of_shares_hold_what_they_promise() -> None:
    """Simulated studies of six retrains; the true share of the data is known."""
    rng, estimates = np.random.default_rng(4), []
    for _ in range(400):
        squares = []
        for differing in (["data"], list(STRENGTHS)):
            found = retrains(rng, differing, 6, 60)
            first, second = np.triu_indices(6, 1)
            squares.append(((found[first] - found[second]) ** 2).mean(axis=1).tolist())
        estimates.append(reduction(*squares))
    assert 0.92 <= coverage(estimates, 1 - STRENGTHS["data"] ** 2 / TOTAL) <= 0.98
