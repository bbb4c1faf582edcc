"""``hvcod churn run``: real retrains in processes of one machine, and on the ranks of a launch."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from forkserver.launches import ForkServer

from hvcod.cli.commands import cli
from hvcod.errors import UsageError

TINY = ["--preset", "laptop", "--steps", 12, "--batch-size", 4, "--learning-rate", 0.01]
TINY += ["--set", "model.hidden=16", "--set", "model.embedding=8", "--examples", 32]
TINY += ["--burn-in", 4, "--exchange-interval", 4, "--staleness", "exact"]
TINY += ["--validation-examples", 32]

PREDICTIONS = "predictions/validation-32"

Study = Callable[..., list[str]]


@pytest.fixture
def study(tiny_data: Path) -> Study:
    """The words of a study: ``study(folder, "dnn,codistill", 2)``."""

    return partial(study_of, tiny_data)


def study_of(data: Path, output: Path, methods: str, repeats: int, *more: object) -> list[str]:
    chosen = ["--methods", methods, "--repeats", repeats, "--output", output]
    words = ["hvcod", "churn", "run", "--data", data, *chosen, *TINY, *more]
    return [str(word) for word in words]


def predictions(folder: Path) -> dict[str, bytes]:
    files = (folder / "predictions").rglob("*.h5")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def changed(folder: Path) -> dict[str, int]:
    """When each file of the retrains was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.h5")}


@dataclass(frozen=True)
class Studied:
    """A study that ranks have trained, and a copy of which processes have trained one half anew.

    Attributes:
        ranks, processes: The folder of each.
        report: What the ranks wrote to standard output.
        printed, told: What the processes wrote to standard output and standard error.
    """

    ranks: Path
    processes: Path
    report: str
    printed: str
    told: str


@pytest.fixture(scope="module")
def studied(
    fast_mpirun: ForkServer,
    mpi_environment: Mapping[str, str],
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Studied:
    folder, methods = tmp_path_factory.mktemp("studied"), "dnn,ensemble,codistill"
    ranks, processes = folder / "ranks", folder / "processes"
    report = fast_mpirun(3, *study_of(tiny_data, ranks, methods, 2, "--json")).stdout
    shutil.copytree(ranks, processes)
    for method in methods.split(","):
        shutil.rmtree(processes / "retrains" / method / "002")
        (processes / PREDICTIONS / method / "002.h5").unlink()
    command = study_of(tiny_data, processes, methods, 2, "--json", "--at-once", 2)
    done = subprocess.run(
        command, env=dict(mpi_environment), capture_output=True, text=True, timeout=300, check=True
    )
    return Studied(ranks, processes, report, done.stdout, done.stderr)


def test_processes_and_ranks_give_the_same_predictions(studied: Studied) -> None:
    assert len(predictions(studied.processes)) == 6
    assert predictions(studied.processes) == predictions(studied.ranks)
    report = json.loads(studied.printed)
    assert report == json.loads(studied.report)
    assert report["rows"] == 32 * 32
    methods = report["methods"]
    assert 0 < methods["ensemble"]["churn"]["mean"] < methods["dnn"]["churn"]["mean"]
    assert {len(each["models"]) for each in methods.values()} == {2}
    assert [each["name"] for each in methods["dnn"]["models"]] == ["dnn 1", "dnn 2"]
    assert "run 3/3" in studied.told
    assert (studied.processes / "churn.html").read_text().startswith("<!doctype html>")
    lines = (studied.processes / "churn.csv").read_text()
    assert "dnn,pair" in lines.replace(",all pairs", "")


def test_finished_retrains_are_used_again(
    fast_mpirun: ForkServer, study: Study, studied: Studied
) -> None:
    """With another method and more repeats; other examples are predicted, nothing trained anew."""
    folder = studied.ranks
    before = changed(folder)
    done = fast_mpirun(1, *study(folder, "dnn,same", 3, "--json", "--examples", 8))
    assert before.items() <= changed(folder).items()
    methods = json.loads(done.stdout)["methods"]
    assert [len(each["models"]) for each in methods.values()] == [3, 3]
    assert methods["same"]["churn"]["mean"] == 0


def test_other_options_than_before_are_refused_by_name(
    fast_mpirun: ForkServer, study: Study, studied: Studied
) -> None:
    for words, code, message in (
        (["--learning-rate", 0.02], 1, "optimizer.learning_rate=0.02"),
        (["--steps", 24], 1, "belongs to a run with steps=12, this one has steps=24"),
        (["--methods", "codistill"], 2, "--ranks-per-group 1 needs 2 ranks"),
    ):
        done = fast_mpirun(1, *study(studied.ranks, "dnn", 2, *words), check=False)
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
    before = changed(tmp_path / "s")
    report = json.loads(fast_mpirun(1, *study(tmp_path / "s", "dnn", 3, "--json", *days)).stdout)
    assert changed(tmp_path / "s") == before
    assert len(report["methods"]["dnn"]["pairs"]) == 3
    assert report["data_sample"] == "days"
    assert list(report["methods"]["dnn"]["days_apart"]) == ["1", "2"]
    note = json.loads((tmp_path / "s/retrains/dnn/002/group-0/data.json").read_text())
    assert note["chosen"].startswith("training_window=0.1666")
    rows = report["methods"]["dnn"]["fragile"]
    written = (tmp_path / "s" / "fragile.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in written[1:]] == [["dnn", row["id"]] for row in rows]
    assert len(rows) == 2


LONGER = ["--steps", 40, "--burn-in", 10, "--exchange-interval", 10, "--log-interval", 2]
LONGER += ["--data-sample", "bootstrap"]


def test_a_study_that_is_told_to_stop_goes_on(
    fast_mpirun: ForkServer, study: Study, tmp_path: Path
) -> None:
    """As processes and as ranks: it exits with 75, and goes on as if it had not been stopped."""
    whole, stopped = (
        study(tmp_path / name, "twin-bootstrap", 2, *LONGER) for name in ("whole", "stopped")
    )
    fast_mpirun(2, *whole)
    retrains = tmp_path / "stopped" / "retrains" / "twin-bootstrap"
    for ranks, number, retrain in ((0, signal.SIGTERM, "001"), (2, signal.SIGUSR2, "002")):
        run = fast_mpirun.start(ranks, *stopped)
        lines = retrains / retrain / "group-1" / "metrics.jsonl"
        wait_for(partial(learns, lines), run)
        # As schedulers do it: to all processes of the job. Each rank leads a process group.
        for process in run.processes().values():
            os.killpg(process, number)
        run.communicate(timeout=300)
        assert run.returncode == 75
        assert len(predictions(tmp_path / "stopped")) < int(retrain)
    fast_mpirun(2, *stopped)
    assert predictions(tmp_path / "stopped") == predictions(tmp_path / "whole")


def test_a_group_that_is_killed_ends_the_study_with_its_name(
    mpi_environment: Mapping[str, str], study: Study, tmp_path: Path
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


def test_a_retrain_that_diverges_ends_the_study_with_its_name(
    fast_mpirun: ForkServer, study: Study, tmp_path: Path
) -> None:
    diverge(fast_mpirun, 1, study(tmp_path / "s", "dnn", 2))


@pytest.mark.usefixtures("long")
def test_a_process_that_diverges_ends_the_study_with_its_name(
    fast_mpirun: ForkServer, study: Study, tmp_path: Path
) -> None:
    diverge(fast_mpirun, 0, study(tmp_path / "s", "dnn", 2))


def diverge(fast_mpirun: ForkServer, ranks: int, words: list[str]) -> None:
    done = fast_mpirun(ranks, *words, "--learning-rate", 1e30, "--clip", 0, check=False)
    assert done.returncode == 1
    assert "dnn 1" in done.stderr
    assert "--learning-rate" in done.stderr
    assert "Traceback" not in done.stderr


def learns(lines: Path) -> bool:
    """Whether there is a step in the metrics of a group."""
    return lines.exists() and '"loss"' in lines.read_text()


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def wait_for(condition: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)
