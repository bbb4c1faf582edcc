"""``--fragile``: the rows that retrains decide differently most often."""

import json
from csv import DictReader
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from churn.conftest import CSV, HDF5, report_of
from click.testing import CliRunner

from hvcod.churn.files import rows as files_rows
from hvcod.churn.page.page import page
from hvcod.churn.report import rows_csv
from hvcod.cli.churn.table import table
from hvcod.cli.commands import cli
from hvcod.errors import UsageError

HEAD = "id,prediction,label,slice"
THREE = (
    f"{HEAD} a,0.10,0,x b,0.60,1,y c,0.40,1,x d,0.90,0,y <e>,0.70,,y",
    f"{HEAD} a,0.20,0,x b,0.45,1,y c,0.55,1,x d,0.80,0,y <e>,0.30,,y",
    f"{HEAD} a,0.30,0,x b,0.70,1,y c,0.35,1,x d,0.60,0,y <e>,0.20,,y",
)


@pytest.fixture
def three(csv: CSV) -> list[Path]:
    return [csv(f"retrain-{number}", words) for number, words in enumerate(THREE)]


def test_rows_worked_out_by_hand(three: list[Path]) -> None:
    report = report_of(three, fragile=9, slice_column="slice")
    found = report.fragile["all"]
    # b, c and e flip in two of three pairs; e has the widest range, then b.
    assert [row.id for row in found] == ["<e>", "b", "c"]
    first, second, third = found
    assert [row.flips for row in found] == pytest.approx([2 / 3] * 3)
    assert (first.label, second.label, first.slice, third.slice) == (None, 1, "y", "x")
    assert (first.mean, first.lowest, first.highest) == pytest.approx((0.4, 0.2, 0.7))
    assert (second.lowest, second.highest) == pytest.approx((0.45, 0.7))
    assert first.of_class is None
    assert [row.id for row in report_of(three, fragile=2).fragile["all"]] == ["<e>", "b"]
    # At another threshold others flip.
    (only,) = report_of(three, fragile=9, threshold=0.85).fragile["all"]
    assert only.id == "d"
    assert not report_of(three).fragile


def test_shares_add_up_to_the_disagreement(hdf5: HDF5, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all rows, in several blocks, for classes, and for rows without ids."""
    monkeypatch.setattr(files_rows, "MOST_ROWS_IN_BLOCK", 64)
    rng = np.random.default_rng(0)
    for shape in ((500,), (500, 4)):
        base = rng.normal(size=shape)
        models = [base + 0.5 * rng.normal(size=shape) for _ in range(5)]
        if len(shape) == 1:
            values = [1 / (1 + np.exp(-model)) for model in models]
        else:
            values = [np.exp(m) / np.exp(m).sum(axis=1, keepdims=True) for m in models]
        files = [hdf5(f"m{len(shape)}{n}", prediction=each) for n, each in enumerate(values)]
        report = report_of(files, fragile=500)
        found = report.fragile["all"]
        disagreement = report.estimates["all"]["disagreement"].mean
        assert sum(row.flips for row in found) / 500 == pytest.approx(disagreement)
        order = [(-row.flips, row.lowest - row.highest) for row in found]
        assert order == sorted(order)
        one = found[0]
        number = int(one.id)
        decided = [int(np.argmax(v[number]) if v.ndim > 1 else v[number] >= 0.5) for v in values]
        differing = sum(a != b for a, b in combinations(decided, 2))
        assert one.flips == pytest.approx(differing / 10)
        if one.of_class is None:
            mine = [each[number] for each in values]
        else:
            assert decided.count(one.of_class) == max(map(decided.count, decided))
            mine = [each[number, one.of_class] for each in values]
        assert one.mean == pytest.approx(np.mean(mine))
        assert (one.lowest, one.highest) == pytest.approx((min(mine), max(mine)))
        few = report_of(files, fragile=7).fragile["all"]
        assert few == found[:7]


def test_methods_have_rows_of_their_own_and_some_have_none(three: list[Path]) -> None:
    words = [f"wild={path}" for path in three] + [f"tame={path}" for path in three[:1] * 2]
    done = CliRunner().invoke(cli, ["churn", "compare", *words, "--fragile", "1", "--json"])
    assert not done.exception, done.output
    methods = json.loads(done.stdout)["methods"]
    assert [row["id"] for row in methods["wild"]["fragile"]] == ["<e>"]
    assert methods["tame"]["fragile"] == []


def test_rows_are_shown_and_written(three: list[Path], tmp_path: Path) -> None:
    words = [*map(str, three), "--slice-column", "slice", "--fragile", "2"]
    files = {name: tmp_path / f"out.{name}" for name in ("csv", "html")}
    words += ["--fragile-csv", str(files["csv"]), "--html", str(files["html"])]
    done = CliRunner().invoke(cli, ["churn", "compare", *words])
    assert not done.exception, done.output
    assert "flips most often" in done.stdout
    with files["csv"].open() as file:
        first, second = DictReader(file)
    assert (first["method"], first["id"], first["label"], first["slice"]) == (
        "retrains",
        "<e>",
        "",
        "y",
    )
    assert float(second["flips"]) == pytest.approx(2 / 3)
    assert "<td>&lt;e&gt;</td>" in files["html"].read_text()


def test_retrains_that_agree_say_so(three: list[Path]) -> None:
    report = report_of(three, fragile=2, threshold=0.95)
    assert "no row flips: all" in table(report)
    assert "churn has one from 4 retrains on" in table(report)  # an interval, of three retrains
    assert "no row flips: all" in page(report)
    assert rows_csv(report).count("\n") == 1


def test_a_file_of_rows_needs_rows(three: list[Path]) -> None:
    words = ["churn", "compare", *map(str, three), "--fragile-csv", "x.csv"]
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, UsageError)
    assert "--fragile-csv goes with --fragile N" in str(done.exception)
