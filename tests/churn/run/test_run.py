"""``hvcod churn run``: real retrains in processes of one machine, and on the ranks of a launch."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from forkserver.launches import ForkServer

from hvcod.cli.commands import cli
from hvcod.errors import UsageError

TINY = ["--preset", "laptop", "--steps", 12, "--batch-size", 4, "--learning-rate", 0.01]
TINY += ["--set", "model.hidden=16", "--set", "model.embedding=8", "--examples", 64]
TINY += ["--burn-in", 4, "--exchange-interval", 4, "--staleness", "exact"]
TINY += ["--validation-examples", 64]

Study = Callable[..., list[str]]
Alone = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def study(tiny_data: Path) -> Study:
    """The words of a study: ``study(folder, "dnn,codistill", 2)``."""

    return partial(study_of, tiny_data)


def study_of(data: Path, output: Path, methods: str, repeats: int, *more: object) -> list[str]:
    chosen = ["--methods", methods, "--repeats", repeats, "--output", output]
    words = ["hvcod", "churn", "run", "--data", data, *chosen, *TINY, *more]
    return [str(word) for word in words]


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


def test_other_options_than_before_are_refused_by_name(
    fast_mpirun: ForkServer, study: Study, tmp_path: Path
) -> None:
    fast_mpirun(1, *study(tmp_path / "s", "dnn", 2))
    for words, code, message in (
        (["--learning-rate", 0.02], 1, "optimizer.learning_rate=0.02"),
        (["--steps", 24], 1, "belongs to a run with steps=12, this one has steps=24"),
        (["--methods", "codistill"], 2, "--ranks-per-group 1 needs 2 ranks"),
    ):
        done = fast_mpirun(1, *study(tmp_path / "s", "dnn", 2, *words), check=False)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr
        assert done.stderr.count("hvcod: ") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "groups=3"], "--set groups: hvcod churn run sets it for each retrain"),
        (["--methods", "dnn,boosted"], "--methods boosted: choose from dnn, distill, anchored"),
        (["--burn-in", 12, "--methods", "codistill"], "no group would ever have a teacher"),
        (["--repeats", 1], "churn is between two retrains or more"),
        (["--slices", "none.csv"], "none.csv: no such file or folder"),
        (["--share", "3/2"], "share=3/2: expected a share such as 3/24"),
    ],
)
def test_wrong_usage_is_refused_by_name(
    study: Study, tmp_path: Path, words: list[object], message: str
) -> None:
    done = CliRunner().invoke(cli, study(tmp_path / "s", "dnn", 2, *words)[1:])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_shares_in_jobs_of_their_own(fast_mpirun: ForkServer, study: Study, tmp_path: Path) -> None:
    days = ["--data-sample", "days", "--days", 6, "--window-days", 4, "--fragile", 2]
    for number, done in ((2, 1), (1, 3)):
        words = study(tmp_path / "s", "dnn", 3, "--share", f"{number}/2", *days)
        told = fast_mpirun(1, *words)
        assert told.stdout.startswith(f"{done} of 3 retrains are done")
        assert "from days 1 to 4 and each further one from a window a day later" in told.stderr
    report = json.loads(fast_mpirun(1, *study(tmp_path / "s", "dnn", 3, "--json", *days)).stdout)
    assert len(report["methods"]["dnn"]["pairs"]) == 3
    assert report["data_sample"]["kind"] == "days"
    assert list(report["methods"]["dnn"]["days_apart"]) == ["1", "2"]
    note = json.loads((tmp_path / "s/retrains/dnn/002/group-0/data.json").read_text())
    assert note["chosen"].startswith("training_window=0.1666")
    rows = report["methods"]["dnn"]["fragile"]
    written = (tmp_path / "s" / "fragile.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in written[1:]] == [["dnn", row["id"]] for row in rows]
    assert len(rows) == 2


LONGER = ["--steps", 60, "--burn-in", 20, "--exchange-interval", 20, "--log-interval", 2]
LONGER += ["--data-sample", "bootstrap"]


@pytest.fixture(scope="module")
def undisturbed(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The predictions of a longer study that was never stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    fast_mpirun(2, *study_of(tiny_data, folder, "twin-bootstrap", 2, *LONGER))
    return predictions(folder)


@pytest.mark.parametrize(("ranks", "number"), [(0, signal.SIGTERM), (2, signal.SIGUSR2)])
def test_a_study_that_is_told_to_stop_goes_on(
    fast_mpirun: ForkServer,
    study: Study,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    ranks: int,
    number: int,
) -> None:
    """It exits with 75, and the same command ends with the predictions of an undisturbed one."""
    words = study(tmp_path, "twin-bootstrap", 2, *LONGER)
    run = fast_mpirun.start(ranks, *words)
    lines = tmp_path / "retrains" / "twin-bootstrap" / "001" / "group-1" / "metrics.jsonl"
    wait_for(lambda: lines.exists() and '"loss"' in lines.read_text(), run)
    # As schedulers do it: to all processes of the job. Each rank leads a process group.
    for process in run.processes().values():
        os.killpg(process, number)
    run.communicate(timeout=300)
    assert run.returncode == 75
    assert not predictions(tmp_path)
    fast_mpirun(ranks, *words)
    assert predictions(tmp_path) == undisturbed


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
    # The other group is not left behind; one that was slow to stop was killed.
    other = owner.parent.parent / "group-0" / "owner.json"
    assert not (other.exists() and is_alive(json.loads(other.read_text())["pid"]))


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


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def wait_for(condition: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)
