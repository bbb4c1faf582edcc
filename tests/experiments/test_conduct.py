"""``hvcod experiment``: tiny experiments, trained on the ranks of a launch and in processes."""

import json
import time
from pathlib import Path

from forkserver.launches import ForkServer, Launch

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


def test_killed_it_goes_on_and_others_share_its_runs(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--data", tiny_data, "--output", tmp_path / "o", "--seeds", 2, "--json"]
    launch = fast_mpirun.start(2, PROGRAM, "experiment", "tiny", *words, "--share", "2/2")
    first = wait_for_the_first(tmp_path / "o", launch)
    launch.kill_all()
    assert 0 < len(first) <= 4
    done = fast_mpirun(2, PROGRAM, "experiment", "tiny", *words)
    assert json.loads(done.stdout)["finished"] == 8
    everything = finished(tmp_path / "o")
    assert first.items() <= everything.items()  # not trained again
    assert len(everything) == 8
    other = fast_mpirun(2, PROGRAM, "experiment", "other", *words)
    assert json.loads(other.stdout)["finished"] == 4
    assert finished(tmp_path / "o") == everything


def test_processes_train_it_without_a_launcher(
    long: None, fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--data", tiny_data, "--output", tmp_path / "o", "--seeds", 1, "--at-once", 2]
    done = fast_mpirun(0, PROGRAM, "experiment", "tiny", *words)
    assert "4 of 4 runs are finished" in done.stdout
    assert len(finished(tmp_path / "o")) == 4
