"""The page of a study of churn: numbers of made-up retrains, the paper's beside them, verdicts."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from hvcod.churn.compare import compare
from hvcod.churn.options import CompareOptions
from hvcod.churn.report import Report
from hvcod.config import TrainOptions
from hvcod.errors import HvcodError
from hvcod.experiments.base import SCALES
from hvcod.experiments.clicks import table1
from hvcod.experiments.measuring.verdicts import NOT_SHOWN, SHOWN
from hvcod.experiments.page.study import blocks, table, verdicts
from hvcod.experiments.report import Context, about_of
from hvcod.experiments.study import report_study
from hvcod.runs.crew import RunSpec

ROWS, RETRAINS = 500, 8
SPREADS = {"dnn": 0.3, "ensemble": 0.33, "codistill": 0.1, "same": 0.0}
CONTEXT = Context("laptop", "hvcod experiment table1", [("dnn 1", "hvcod train --seed 1")])


def made(folder: Path) -> Report:
    """Retrains whose predictions scatter by method around the same ones, all for equal rows."""
    random = np.random.default_rng(0)
    logits = random.normal(-1, 1, ROWS)
    labels = random.random(ROWS) < 1 / (1 + np.exp(-logits))
    files: dict[str, list[Path]] = {}
    for method, spread in SPREADS.items():
        for number in range(RETRAINS):
            path = folder / f"{method}-{number}.h5"
            drawn = logits + spread * random.normal(size=ROWS)
            with h5py.File(path, "w") as file:
                file["id"], file["label"] = np.arange(ROWS), labels.astype(int)
                file["prediction"] = 1 / (1 + np.exp(-drawn))
            files.setdefault(method, []).append(path)
    names = {path: path.stem.replace("-", " ") for paths in files.values() for path in paths}
    return compare(files, CompareOptions(), names)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(tmp_path_factory.mktemp("retrains"))


def test_claims_are_judged_by_the_intervals_over_retrains(report: Report) -> None:
    churn, loss, ensemble = verdicts(table1("laptop"), report)
    cut = report.against_first["codistill"]["churn_reduction"]
    assert cut is not None
    assert cut.interval is not None
    assert 0.3 < cut.interval[0] < churn.evidence.mean == cut.mean < 0.8
    assert churn.verdict == SHOWN
    assert f"a churn reduction of {cut.mean:.3f} [{cut.interval[0]:.3f}" in churn.sentence
    assert "over 8 retrains of each method; the claim needs at least 0.3." in churn.sentence
    assert loss.verdict == SHOWN
    assert loss.evidence.mean < 0
    assert ensemble.verdict == NOT_SHOWN  # it scatters more
    assert ensemble.evidence.mean < 0


def test_the_papers_figures_stand_beside_ours(report: Report) -> None:
    rows = table(table1("laptop"), report).rows
    first, _, codistilled, same = rows
    churn = report.estimates["codistill"]["churn"].mean
    assert codistilled[:2] == ["codistilled, one copy", "8"]
    assert codistilled[3:6:2] == ["0.4458 ± 0.002", "0.019 ± 0.002"]
    assert codistilled[4].startswith(f"{churn:.4f} [")
    cut = 1 - churn / report.estimates["dnn"]["churn"].mean
    assert codistilled[7].startswith(f"{cut:.1%} [")
    assert first[7:] == ["–", "–"]
    assert same[4] == "0.0000 [0.0000, 0.0000]"
    assert same[3:6:2] == ["–", "–"]


def test_what_does_not_show_is_said(report: Report) -> None:
    study = table1("laptop")
    found = verdicts(study, report)
    page = blocks(study, report, found, about_of(CONTEXT, ["a processor"], [], []), "<svg></svg>")
    items = [item for block in page for item in getattr(block, "items", ())]
    assert ("Not shown:", study.claims[2].text) in items
    assert ("Note:", study.notes[0]) in items


def test_the_report_is_written_whole(report: Report, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "group-0").mkdir(parents=True)
    (run / "group-0" / "metrics.jsonl").write_text(
        json.dumps({"event": "started", "step": 0, "processor": "a processor"}) + "\n"
    )
    (run / "config.toml").write_text('[run]\nhvcod = "0.1.9"\n')
    runs = [RunSpec("dnn 1", TrainOptions(run_dir=run))]
    found = report_study(table1("laptop"), report, runs, tmp_path / "table1", CONTEXT)
    names = {path.name for path in (tmp_path / "table1").iterdir()}
    assert names == {
        *("index.md", "index.html", "figure.png", "figure.svg", "summary.json"),
        *("churn.csv", "churn.html"),
    }
    with Image.open(tmp_path / "table1" / "figure.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert 900 < pixels.shape[1] < 1100  # a column at 300 dots an inch
    assert (pixels < 128).any()
    summary = json.loads((tmp_path / "table1" / "summary.json").read_text())
    assert summary == json.loads(json.dumps(found))
    assert [claim["verdict"] for claim in summary["claims"]] == [SHOWN, SHOWN, NOT_SHOWN]
    page = (tmp_path / "table1" / "index.md").read_text()
    assert "| codistilled, one copy | 8 |" in page
    assert page.startswith(f"# table1: {table1('laptop').title}?")
    assert "Trained by hvcod 0.1.9, on a processor." in page
    (tmp_path / "file").touch()
    with pytest.raises(HvcodError, match="cannot write"):
        report_study(table1("laptop"), report, runs, tmp_path / "file" / "table1", CONTEXT)


@pytest.mark.parametrize("scale", SCALES)
def test_claims_compare_with_the_first_method(scale: str) -> None:
    study = table1(scale)
    methods = study.methods.split(",")
    assert {claim.against for claim in study.claims} == {methods[0]}
    assert {claim.arm for claim in study.claims} <= {*methods[1:]}
    assert {*methods} <= study.labels.keys()
    assert study.published.keys() <= {*methods}
