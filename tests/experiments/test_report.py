"""The report of made-up runs: files of metrics whose answer is known, options that are real."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from experiments.measuring.made import line
from mpi.programs import tiny_experiments

from hvcod.errors import HvcodError
from hvcod.experiments.arms import baseline, codistilled, doubled, ensemble
from hvcod.experiments.base import Claim, Experiment, Panel
from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.report import Context, costs_of, report
from hvcod.experiments.running.store import ArmRun, runs_of

STEPS = 600
TINY = tiny_experiments.SETTING
SETTING = dataclasses.replace(TINY, options={**TINY.options, "steps": STEPS})
ARMS = [baseline(SETTING), doubled(SETTING), codistilled(SETTING), ensemble(SETTING)]
NAMES = [arm.name for arm in ARMS]
EXPERIMENT = Experiment(
    name="figure0",
    title="two groups are faster",
    paper="Nothing.",
    setting=SETTING,
    arms=ARMS,
    claims=[
        Claim("Half of the steps.", "codistilled", "baseline", at_least=1.9),
        Claim("Close to the ensemble.", "codistilled", "ensemble", "gain", at_least=-0.1),
        Claim("Faster than twice the workers.", "codistilled", "doubled"),
    ],
    panels=[Panel(NAMES), Panel(NAMES, kind="best")],
)
SLOPES = {"baseline": -0.01, "doubled": -0.015, "codistilled": -0.02, "ensemble": -0.03}


@pytest.fixture
def runs(tiny_data: Path, tmp_path: Path) -> list[ArmRun]:
    """Runs of three seeds, which have not been trained."""
    order = ExperimentOptions(seeds=3, data=tiny_data, output=tmp_path / "o")
    return runs_of(EXPERIMENT, order)


def write(run: ArmRun, **last: Any) -> None:
    """Writes the metrics of all groups of a run; those of the slow baseline are far worse."""
    above = 1.0 if run.candidate == "slow" else 0.0
    points = line(9.0 + above, SLOPES[run.arm], STEPS)
    run.run_dir.mkdir(parents=True)
    (run.run_dir / "config.toml").write_text('[run]\nhvcod = "0.1.9"\n')
    for group in range(run.options.groups):
        folder = run.run_dir / f"group-{group}"
        folder.mkdir(parents=True)
        lines: list[dict[str, Any]] = [{"step": 0, "event": "started", "processor": "a processor"}]
        lines += [validation(step, value) for step, value in zip(*points, strict=True)]
        lines += [{"step": STEPS, "published_bytes": 60_000, "taken_bytes": 30_000} | last]
        text = "".join(
            json.dumps({"examples": 4 * line["step"], "wall_s": line["step"]} | line) + "\n"
            for line in lines
        )
        (folder / "metrics.jsonl").write_text(text)


def validation(step: Any, value: Any) -> dict[str, Any]:
    names = ("loss", "average_loss", "ensemble_loss", "ensemble_average_loss")
    parts = {name: [float(value), float(value) + 0.5] for name in names}
    return {"step": int(step), "validation_loss": float(value), "validation_parts": parts}


def reported(runs: list[ArmRun], folder: Path) -> Mapping[str, Any]:
    context = Context("laptop", "hvcod experiment figure0", [("baseline 1", "hvcod train")])
    return report(EXPERIMENT, runs, folder, context)


def test_the_report_of_straight_lines(runs: list[ArmRun], tmp_path: Path) -> None:
    for run in runs:
        write(run)
    found = reported(runs, tmp_path / "page")
    assert [claim["verdict"] for claim in found["claims"]] == ["shown", "not shown", "shown"]
    arms = {(arm["arm"], arm["weights"]): arm for arm in found["arms"]}
    assert len(arms) == 8
    assert arms["baseline", "raw"]["candidate"] == "fast"
    assert arms["baseline", "raw"]["best"]["mean"] == pytest.approx(9.5 - 5.9)
    two = arms["codistilled", "raw"]
    assert two["against_baseline"]["speedup"]["interval"] == pytest.approx([2, 2])
    assert two["seconds_to_baseline"] == pytest.approx({"1": 295, "2": 295, "3": 295})
    assert two["cost"]["bytes_a_step_between"] == 150
    assert two["cost"]["seconds_shared_by"] == 2
    assert arms["doubled", "raw"]["cost"]["bytes_a_step_inside"] > 1000
    assert found["processors"] == ["a processor"]
    assert found["trained_by"] == ["0.1.9"]
    assert json.loads((tmp_path / "page" / "summary.json").read_text()) == json.loads(
        json.dumps(found)
    )
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("<svg") == 1
    assert "Shown at this scale" in page


def test_an_arm_that_diverged_is_left_out_and_named(runs: list[ArmRun], tmp_path: Path) -> None:
    for run in runs:
        lost = {"diverged": True} if (run.arm, run.seed) == ("doubled", 2) else {}
        write(run, **lost)
    found = reported(runs, tmp_path / "page")
    assert {arm["arm"] for arm in found["arms"]} == {"baseline", "codistilled", "ensemble"}
    assert len(found["claims"]) == 2
    (note,) = found["notes"]
    assert note == f"“{ARMS[1].label}”: left out, as a seed of every candidate diverged."


def test_ranks_are_the_workers_of_a_group(runs: list[ArmRun], tiny_data: Path) -> None:
    order = ExperimentOptions(seeds=1, data=tiny_data, ranks_per_group=2)
    costs = costs_of(ARMS[:2], runs_of(EXPERIMENT, order))
    two, four = costs["baseline"]["fast"], costs["doubled"][""]
    assert (two.workers, four.workers, two.shared_by) == (2, 4, 1)
    assert four.inside == 1.5 * two.inside > 1000
    alone = costs_of(ARMS[:1], runs)["baseline"]["fast"]
    assert (alone.workers, alone.inside) == (1, 0)


def test_without_a_baseline_there_is_no_report(runs: list[ArmRun], tmp_path: Path) -> None:
    for run in runs:
        write(run, diverged=run.arm == "baseline")
    with pytest.raises(HvcodError, match="figure0: the baseline diverged"):
        reported(runs, tmp_path / "page")


def test_a_folder_that_cannot_be_written_is_named(
    long: None, runs: list[ArmRun], tmp_path: Path
) -> None:
    for run in runs:
        write(run)
    (tmp_path / "page").write_text("")
    with pytest.raises(HvcodError, match=f"cannot write {tmp_path / 'page'}"):
        reported(runs, tmp_path / "page")
