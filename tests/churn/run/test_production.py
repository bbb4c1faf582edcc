"""The model in production of a study: found, kept, asked once; and real retrains pulled to it."""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from churn.run.test_run import LONGER, TINY, Study, learns, predictions, study_of, wait_for
from click.testing import CliRunner
from forkserver.launches import ForkServer

from hvcod.churn.options import StudyOptions
from hvcod.churn.run.methods import methods_of
from hvcod.churn.run.production import NOTE, find_production, keep_production
from hvcod.cli.commands import cli
from hvcod.errors import HvcodError, UsageError

METHODS = "dnn,anchored,anchored-codistill"
WEIGHTS = b"PK\x03\x04"
"""The beginning of a file of weights."""
PULLED = ["--distill-weight", 20, "--steps", 30, "--burn-in", 8, "--log-interval", 1]


@pytest.fixture
def study(tiny_data: Path) -> Study:
    """The words of a study: ``study(folder, "dnn,anchored", 2)``."""
    return partial(study_of, tiny_data)


@pytest.fixture(scope="module")
def monday(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run of a model in production, of two groups."""
    run = tmp_path_factory.mktemp("production") / "monday"
    of_study = TINY.index("--examples")
    words = ["--data", tiny_data, "--run-dir", run, *TINY[:of_study], *TINY[of_study + 2 :]]
    longer = ["--groups", 2, "--exchange", "in-process", "--steps", 40, "--seed", 77]
    fast_mpirun(0, "hvcod", "train", *words, *longer)
    return run


def state_of(run: Path, folder: Path, group: int = 0) -> Path:
    """A copy of a group's training state, alone in a folder as users pass models on."""
    (state,) = (run / f"group-{group}" / "state").glob("step-00000040.h5")
    return Path(shutil.copy(state, folder / "production.h5"))


def test_retrains_are_pulled_towards_the_model_in_production(
    fast_mpirun: ForkServer, study: Study, monday: Path, tmp_path: Path
) -> None:
    state = state_of(monday, tmp_path)
    words = study(tmp_path / "s", METHODS, 1, *PULLED, "--production", state, "--json")
    report = json.loads(fast_mpirun(1, *words, "--exchange", "in-process").stdout)
    assert report["production"]["name"] == str(state)
    churn = {name: each["against_production"]["churn"] for name, each in report["methods"].items()}
    assert {each["repeats"] for each in churn.values()} == {1}
    assert churn["anchored"]["mean"] < 0.7 * churn["dnn"]["mean"]
    assert churn["anchored-codistill"]["mean"] < 0.8 * churn["dnn"]["mean"]
    assert first_weight(tmp_path / "s", "anchored") == 20
    assert first_weight(tmp_path / "s", "anchored-codistill") == 0  # the burn-in
    assert "Against production" in (tmp_path / "s" / "churn.html").read_text()


def first_weight(folder: Path, method: str) -> float:
    """The weight of the distillation term in the first step of a method's first retrain."""
    lines = folder / "retrains" / method / "001" / "group-0" / "metrics.jsonl"
    (weight,) = (
        line["distill_weight"]
        for line in map(json.loads, lines.read_text().splitlines())
        if line["step"] == 1
    )
    return float(weight)


def production_of(path: Path, folder: Path, **options: Any) -> Any:
    return find_production(StudyOptions(production=path, **options), folder)


def test_no_model_in_production() -> None:
    assert find_production(StudyOptions(), Path("s")) is None


def test_predictions_are_kept_by_the_content_of_the_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    one.write_bytes(WEIGHTS)
    other.write_bytes(WEIGHTS)
    found = [production_of(path, tmp_path, part="test", examples=9) for path in (one, other)]
    assert found[0].predictions == found[1].predictions
    assert found[0].predictions.parent == tmp_path / "predictions" / "test-9" / "production"
    other.write_bytes(WEIGHTS + b"others")
    assert production_of(other, tmp_path, part="test", examples=9).digest != found[0].digest


def test_anchored_retrains_of_one_study_have_one_anchor(tmp_path: Path) -> None:
    path, output = tmp_path / "p.pt", tmp_path / "s"
    output.mkdir()
    path.write_bytes(WEIGHTS)
    keep = partial(keep_production, output=output)
    keep(production_of(path, output), methods_of("dnn"))
    assert not (output / NOTE).exists()
    for _ in range(2):
        keep(production_of(path, output), methods_of("dnn,anchored"))
    before = production_of(path, output)
    path.write_bytes(WEIGHTS + b"others")
    with pytest.raises(HvcodError, match=r"p\.pt holds other weights than .*p\.pt, which the anc"):
        keep(production_of(path, output), methods_of("anchored-codistill"))
    # Others may be compared with any model.
    keep(production_of(path, output), methods_of("dnn"))
    (output / NOTE).write_text("[]")
    with pytest.raises(HvcodError, match="is not what hvcod has written"):
        keep(before, methods_of("anchored"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--production", "none"], "--production: .*none: no such run directory or file"),
        (["--production", "store"], "holds predictions of the training data: name the run"),
        (["--production", "empty"], "--production: .*empty is not a run directory"),
        (["--production", "p.csv"], "--production p.csv is no file of weights, which can predict"),
        (["--methods", "anchored"], "pulled towards the model in production: name its run"),
    ],
)
def test_wrong_usage_is_refused_by_name(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "dataset.json").write_text('{"format": "hvcod-predictions"}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "p.csv").write_text("id,prediction\n1,0.5\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, study(tmp_path / "s", "dnn", 2, *words)[1:])
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match=message):
        raise done.exception
    assert not (tmp_path / "s").exists()


def files_in(folder: Path) -> Mapping[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.h5")}


@pytest.mark.usefixtures("long")
def test_a_study_that_goes_on_asks_its_model_once(
    fast_mpirun: ForkServer, study: Study, monday: Path, tmp_path: Path
) -> None:
    """Without anchored methods, of a run with several groups, in shares, and after it changed."""
    output, ours = tmp_path / "s", tmp_path / "ours"
    shutil.copytree(monday, ours)
    words = study(output, "dnn,anchored", 2, *PULLED, "--production", ours)
    for number in (1, 2):
        fast_mpirun(1, *words, "--share", f"{number}/2")
    assert not list(output.rglob("production/*.h5"))
    first = json.loads(fast_mpirun(1, *words, "--json").stdout)
    assert first["production"]["name"] == f"{ours}, the mean of 2 groups"
    before = files_in(output)
    again = json.loads(fast_mpirun(1, *words, "--json").stdout)
    assert (again, files_in(output)) == (first, before)
    # One of its groups has gone on: the anchored retrains learned from something else.
    state_of(ours, ours / "group-0" / "state", 1).rename(
        ours / "group-0" / "state" / "step-00000041.h5"
    )
    done = fast_mpirun(1, *words, check=False)
    assert done.returncode == 1
    assert "holds other weights than" in done.stderr
    assert "Traceback" not in done.stderr
    other = study(output, "dnn", 2, *PULLED, "--production", ours, "--json")
    report = json.loads(fast_mpirun(1, *other).stdout)
    assert report["production"]["log_loss"] != first["production"]["log_loss"]
    assert len(list(output.rglob("production/*.h5"))) == 2


@pytest.mark.usefixtures("long")
def test_a_model_of_other_data_is_refused_before_anything_is_trained(
    fast_mpirun: ForkServer, monday: Path, tmp_path: Path
) -> None:
    output = tmp_path / "s"
    words = ["--task", "criteo", "--repeats", 2, "--methods", "dnn", "--output", output]
    done = fast_mpirun(0, "hvcod", "churn", "run", *words, "--production", monday, check=False)
    assert done.returncode == 1
    assert "its task is commoncrawl, that of this run criteo" in done.stderr
    assert not (output / "retrains").exists()


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(("ranks", "number"), [(0, signal.SIGTERM), (2, signal.SIGUSR2)])
def test_anchored_retrains_go_on_after_a_stop_with_the_same_predictions(
    fast_mpirun: ForkServer, study: Study, monday: Path, tmp_path: Path, ranks: int, number: int
) -> None:
    words = ["anchored-codistill", 2, *LONGER, "--production", monday]
    fast_mpirun(ranks, *study(tmp_path / "undisturbed", *words))
    run = fast_mpirun.start(ranks, *study(tmp_path / "s", *words))
    retrain = tmp_path / "s" / "retrains" / "anchored-codistill" / "001"
    lines = retrain / "group-1" / "metrics.jsonl"
    wait_for(partial(learns, lines), run)
    for process in run.processes().values():
        os.killpg(process, number)
    run.communicate(timeout=300)
    assert run.returncode == 75
    fast_mpirun(ranks, *study(tmp_path / "s", *words))
    assert len(predictions(tmp_path / "s")) == 3
    assert predictions(tmp_path / "s") == predictions(tmp_path / "undisturbed")
