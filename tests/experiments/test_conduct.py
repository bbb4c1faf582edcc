"""``hvcod experiment``: tiny experiments, trained on the ranks of a launch and in processes."""

import json
import time
from pathlib import Path
from typing import Any

from forkserver.launches import ForkServer, Launch
from mpi.programs.tiny_experiments import other

from hvcod.experiments.options import ExperimentOptions
from hvcod.experiments.running.store import missing, runs_of

PROGRAM = "tiny_experiments.py"
"""In tests/mpi/programs."""


def finished(output: Path) -> dict[Path, list[int]]:
    """{a finished run: when the metrics of its groups were last written}."""
    files = {run: sorted(run.glob("group-*/metrics.jsonl")) for run in output.glob("runs/*/*")}
    return {
        run: [path.stat().st_mtime_ns for path in paths]
        for run, paths in files.items()
        if paths and all('"finished"' in path.read_text() for path in paths)
    }


def wait_for_the_first(output: Path, launch: Launch) -> dict[Path, list[int]]:
    while not (found := finished(output)):
        assert launch.poll() is None
        time.sleep(0.02)
    return found


def check_report(folder: Path, summary: dict[str, Any]) -> None:
    """The report of two seeds, from runs of five validations."""
    names = {"curves.csv", "figure.png", "figure.svg", "index.html", "index.md", "summary.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["seeds"] == [1, 2]
    assert [claim["verdict"] for claim in summary["claims"]] == ["not shown"]  # of two seeds
    arms = {(arm["arm"], arm["weights"]): arm for arm in summary["arms"]}
    assert len(arms) == 6
    assert arms["baseline", "raw"]["candidate"] in {"fast", "slow"}
    assert arms["codistilled", "raw"]["cost"]["bytes_a_step_between"] > 0
    assert 0 < arms["student", "average"]["best"]["mean"] < 10
    assert summary["processors"]
    # Four lines for each of five validations of eight runs, and the head.
    assert len((folder / "curves.csv").read_text().splitlines()) == 1 + 4 * 5 * 8
    page = (folder / "index.md").read_text()
    assert "hvcod experiment tiny --scale laptop --seeds 2" in page
    assert page.count("\nhvcod train ") == 4  # those with the first seed
    assert len(summary["commands"]) == 8


def test_killed_it_goes_on_and_others_share_its_runs(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--data", tiny_data, "--output", tmp_path / "o", "--seeds", 2, "--json"]
    launch = fast_mpirun.start(2, PROGRAM, "experiment", "tiny", *words, "--share", "2/2")
    first = wait_for_the_first(tmp_path / "o", launch)
    launch.kill_all()
    assert 0 < len(first) <= 4
    done = fast_mpirun(2, PROGRAM, "experiment", "tiny", *words)
    assert json.loads(done.stdout)["done"] == 8
    check_report(tmp_path / "o" / "tiny", json.loads(done.stdout)["summary"])
    everything = finished(tmp_path / "o")
    assert first.items() <= everything.items()  # not trained again
    assert len(everything) == 8
    shared = runs_of(
        other("laptop"), ExperimentOptions(seeds=2, data=tiny_data, output=tmp_path / "o")
    )
    assert len(shared) == 4
    assert not missing(shared)


def test_processes_train_it_without_a_launcher(
    long: None, fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--data", tiny_data, "--output", tmp_path / "o", "--seeds", 1, "--at-once", 2]
    done = fast_mpirun(0, PROGRAM, "experiment", "tiny", *words)
    assert "4 of 4 runs are finished" in done.stdout
    assert len(finished(tmp_path / "o")) == 4
    # A run that diverges is over: the others are trained, and it is not tried again.
    done = fast_mpirun(0, PROGRAM, "experiment", "diverging", *words)
    assert "wild 1 failed: the gradient is nan at step" in done.stderr
    assert "3 of 3 runs are finished" in done.stdout
    again = fast_mpirun(0, PROGRAM, "experiment", "diverging", *words)
    assert "wild" not in again.stderr
    plan = fast_mpirun(0, PROGRAM, "experiment", "diverging", *words, "--plan", "--json")
    assert [run["diverged"] for run in json.loads(plan.stdout)["runs"]] == [False, False, True]


def test_a_study_of_churn_has_a_page_of_the_same_form(
    long: None, fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--data", tiny_data, "--output", tmp_path / "o", "--seeds", 1, "--json"]
    done = fast_mpirun(1, PROGRAM, "experiment", "study", *words)
    outcome = json.loads(done.stdout)
    assert (outcome["done"], outcome["runs"]) == (4, 4)
    folder = tmp_path / "o" / "study"
    names = {path.name for path in folder.iterdir()}
    assert {"index.md", "index.html", "figure.png", "churn.html"} <= names
    summary = outcome["summary"]
    assert json.loads((folder / "summary.json").read_text()) == summary
    reduction = summary["churn"]["methods"]["codistill"]["against_first"]["churn_reduction"]
    assert summary["claims"][0]["mean"] == reduction["mean"]
    page = (folder / "index.md").read_text()
    assert "| two groups | 2 |" in page
    assert "hvcod churn run --methods dnn,codistill --repeats 2" in page
