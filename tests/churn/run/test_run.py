"""``hvcod churn run``: real retrains in processes of one machine, and on the ranks of a launch."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from forkserver.launches import ForkServer

TINY = ["--preset", "laptop", "--steps", 12, "--batch-size", 4, "--learning-rate", 0.01]
TINY += ["--set", "model.hidden=16", "--set", "model.embedding=8", "--examples", 64]
TINY += ["--burn-in", 4, "--exchange-interval", 4, "--staleness", "exact"]
TINY += ["--validation-examples", 64]

Study = Callable[..., list[str]]
Alone = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def study(tiny_data: Path) -> Study:
    """The words of a study: ``study(folder, "dnn,codistill", 2)``."""

    def words(output: Path, methods: str, repeats: int, *more: object) -> list[str]:
        chosen = ["--methods", methods, "--repeats", repeats, "--output", output]
        given = ["hvcod", "churn", "run", "--data", tiny_data, *chosen, *TINY, *more]
        return [str(word) for word in given]

    return words


@pytest.fixture
def alone(mpi_environment: Mapping[str, str]) -> Alone:
    """Runs a command without a launcher."""

    def run(words: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, env=dict(mpi_environment), capture_output=True, text=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def predictions(folder: Path) -> dict[str, bytes]:
    files = (folder / "predictions").rglob("*.h5")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def changed(folder: Path) -> dict[str, int]:
    """When each file of the retrains was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.h5")}


def test_processes_and_ranks_give_the_same_predictions(
    fast_mpirun: ForkServer, alone: Alone, study: Study, tmp_path: Path
) -> None:
    one, three = tmp_path / "one", tmp_path / "three"
    words = ["dnn,ensemble,codistill,same", 2]
    found = alone(study(one, *words, "--json", "--at-once", 2))
    ranks = fast_mpirun(3, *study(three, *words, "--json"))
    assert len(predictions(one)) == 8
    assert predictions(one) == predictions(three)
    report = json.loads(found.stdout)
    assert report == json.loads(ranks.stdout)
    assert report["rows"] == 64 * 32
    methods = report["methods"]
    assert methods["same"]["churn"]["mean"] == 0
    assert 0 < methods["ensemble"]["churn"]["mean"] < methods["dnn"]["churn"]["mean"]
    assert {len(each["models"]) for each in methods.values()} == {2}
    assert [each["name"] for each in methods["dnn"]["models"]] == ["dnn 1", "dnn 2"]
    assert "run 8/8" in found.stderr
    assert (one / "churn.html").read_text().startswith("<!doctype html>")
    assert "dnn,pair" in (one / "churn.csv").read_text().replace(",all pairs", "")


def test_finished_retrains_are_used_again(
    fast_mpirun: ForkServer, study: Study, tmp_path: Path
) -> None:
    fast_mpirun(2, *study(tmp_path / "s", "dnn", 2))
    before = changed(tmp_path / "s")
    done = fast_mpirun(2, *study(tmp_path / "s", "dnn,codistill", 3, "--json"))
    after = changed(tmp_path / "s")
    assert before.items() <= after.items()
    assert len(after) > len(before)
    assert [len(each["models"]) for each in json.loads(done.stdout)["methods"].values()] == [3, 3]
    # Other examples: predicted anew, not trained anew.
    fast_mpirun(2, *study(tmp_path / "s", "dnn", 3, "--examples", 32))
    assert after.items() <= changed(tmp_path / "s").items()


def test_other_options_are_refused_by_name(
    fast_mpirun: ForkServer, study: Study, tmp_path: Path
) -> None:
    fast_mpirun(1, *study(tmp_path / "s", "dnn", 2))
    for words, code, message in (
        (["--learning-rate", 0.02], 1, "optimizer.learning_rate=0.02"),
        (["--steps", 24], 1, "belongs to a run with steps=12, this one has steps=24"),
        (["--set", "groups=3"], 2, "--set groups: hvcod churn run sets it for each retrain"),
        (
            ["--methods", "codistill"],
            2,
            "--ranks-per-group 1 needs 2 ranks",
        ),
        (["--methods", "dnn,boosted"], 2, "--methods boosted: choose of dnn, same"),
        (["--burn-in", 12, "--methods", "codistill"], 2, "no group would ever have a teacher"),
        (["--repeats", 1], 2, "churn is between two retrains or more"),
        (["--slices", tmp_path / "none.csv"], 2, "none.csv: no such file or folder"),
        (["--share", "3/2"], 2, "share=3/2: expected a share such as 3/24"),
    ):
        # Only in a launch do the ranks that a retrain needs have to be there.
        ranks = int("needs 2 ranks" in message)
        done = fast_mpirun(ranks, *study(tmp_path / "s", "dnn", 2, *words), check=False)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr
        assert done.stderr.count("hvcod: ") == 1


def test_shares_in_jobs_of_their_own(fast_mpirun: ForkServer, study: Study, tmp_path: Path) -> None:
    for number, done in ((2, 1), (1, 3)):
        words = study(tmp_path / "s", "dnn", 3, "--share", f"{number}/2")
        told = fast_mpirun(1, *words).stdout
        assert told.startswith(f"{done} of 3 retrains are done")
    report = json.loads(fast_mpirun(1, *study(tmp_path / "s", "dnn", 3, "--json")).stdout)
    assert len(report["methods"]["dnn"]["pairs"]) == 3


@pytest.mark.parametrize(("ranks", "number"), [(0, "SIGTERM"), (2, "SIGUSR2")])
def test_a_study_that_is_told_to_stop_goes_on(
    ranks: int,
    number: str,
    mpi_environment: Mapping[str, str],
    alone: Alone,
    study: Study,
    tmp_path: Path,
) -> None:
    """It exits with 75, and the same command ends with the predictions of an undisturbed one."""
    longer = ["--steps", 120, "--burn-in", 40, "--exchange-interval", 40, "--log-interval", 2]
    launcher = ["mpirun", "-np", str(ranks)] if ranks else []
    words = [*launcher, *study(tmp_path / "s", "codistill", 2, *longer)]
    given: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    run = subprocess.Popen(words, env=dict(mpi_environment), **given)
    lines = tmp_path / "s" / "retrains" / "codistill" / "001" / "group-1" / "metrics.jsonl"
    wait_for(lambda: lines.exists() and '"loss"' in lines.read_text(), run)
    # As schedulers do it: to all processes of the job.
    os.killpg(run.pid, signal.Signals[number])
    assert run.wait(300) == 75, run.communicate()[1]
    assert not predictions(tmp_path / "s")
    alone(words)
    alone([*launcher, *study(tmp_path / "undisturbed", "codistill", 2, *longer)])
    assert predictions(tmp_path / "s") == predictions(tmp_path / "undisturbed")


def test_a_group_that_is_killed_ends_the_study_with_its_name(
    mpi_environment: Mapping[str, str], alone: Alone, study: Study, tmp_path: Path
) -> None:
    words = study(tmp_path / "s", "codistill", 2, "--steps", 400, "--burn-in", 20)
    run = subprocess.Popen(words, env=dict(mpi_environment), stderr=subprocess.PIPE, text=True)
    owner = tmp_path / "s" / "retrains" / "codistill" / "001" / "group-1" / "owner.json"
    wait_for(lambda: owner.exists() and owner.stat().st_size > 0, run)
    os.kill(json.loads(owner.read_text())["pid"], signal.SIGKILL)
    told = run.communicate(timeout=300)[1]
    assert run.returncode == 1
    assert "codistill 1 failed: signal 9 ended it; the same command goes on" in told
    # The other group is not left behind.
    other = owner.parent.parent / "group-0" / "owner.json"
    assert not other.exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_retrain_that_diverges_ends_the_study_with_its_name(
    ranks: int, fast_mpirun: ForkServer, alone: Alone, study: Study, tmp_path: Path
) -> None:
    words = study(tmp_path / "s", "dnn", 2, "--learning-rate", 1e30, "--clip", 0)
    done = fast_mpirun(ranks, *words, check=False) if ranks else alone(words, check=False)
    assert done.returncode == 1
    assert "dnn 1" in done.stderr
    assert "--learning-rate" in done.stderr
    assert "Traceback" not in done.stderr


def wait_for(condition: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)
