"""MLflow's own client finds what was tracked, in a store of files in the run directory."""

import importlib
from pathlib import Path

import pytest
from training.conftest import Limit
from training.record.trackers.followed import (
    live,
    losses,
    metrics_of,
    of_mlflow,
    tracked,
)

from hvcod.training.record.trackers.base import Ending, Value
from hvcod.training.record.trackers.mlflow import MLflow, _without_password

STORE = "mlflow"


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, and all that MLflow sets in the environment is undone."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")


def test_a_resumed_run_is_the_same_without_a_step_twice_or_one_missing(tmp_path: Path) -> None:
    options: dict[str, Value] = {"codistill.burn_in": 5, "steps": 40, "run.hvcod": "0.2.0"}
    first = [{"step": step, "loss": 1.5, "teachers": {"1": 5}} for step in (10, 20, 30)]
    first.append({"step": 30, "validation_loss": 3.0})
    live(MLflow, tracked(tmp_path, values=options), first, "killed")
    (before,) = of_mlflow(tmp_path / STORE)
    assert (before.state, before.name, before.related) == (
        "KILLED",
        "first/group-0",
        "0123456789abcdef",
    )
    assert before.options == {key: str(value) for key, value in options.items()}
    assert before.rows["loss"] == losses(first)
    assert before.rows["teachers/1"] == [(10, 5), (20, 5), (30, 5)]
    # Meanwhile a line came to the disk that the tracker did not get: it is taken from there.
    run = tracked(tmp_path, after=35, values={**options, "steps": 60})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 35, "loss": 2.0}\n{"step": 40, "loss": 9.0}\n')
    hint = live(MLflow, run, [{"step": 40, "loss": 2.5}, {"step": 50, "loss": 2.5}], "finished")
    command = f"MLFLOW_ALLOW_FILE_STORE=true mlflow server --backend-store-uri {tmp_path / STORE}"
    assert hint == f"look at it with: {command}"
    (after,) = of_mlflow(tmp_path / STORE)
    assert (after.id, after.state) == (before.id, "FINISHED")
    assert after.rows["loss"] == losses(metrics_of(run.folder))
    assert after.rows["validation_loss"] == [(30, 3.0)]
    assert after.rows["summary/validation_loss"] == [(50, 0.5)]
    assert after.options == {**before.options, "hvcod.now.steps": "60"}


def test_steps_that_are_trained_again_are_not_repeated(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": float(step)} for step in (10, 20, 30)]
    live(MLflow, tracked(tmp_path), lines, "killed")
    # The end of a line that a node without power had not written.
    (path,) = (tmp_path / STORE).glob("*/*/metrics/loss")
    with path.open("a") as file:
        file.write("1796051201913 40.")
    again = [{"step": 20, "loss": 7.0}, {"step": 30, "loss": 7.0}, {"step": 40, "loss": 7.0}]
    live(MLflow, tracked(tmp_path, after=10), again, "failed")
    (run,) = of_mlflow(tmp_path / STORE)
    assert run.rows["loss"] == [(10, 10.0), (20, 20.0), (30, 30.0), (40, 7.0)]
    assert run.state == "FAILED"


def test_a_full_disk_costs_figures_and_leaves_a_store_that_can_be_read(
    tmp_path: Path, disk: Limit
) -> None:
    tracker = MLflow(tracked(tmp_path))
    tracker.begin()
    disk(500)  # All but the metrics is written already, and each metric has a file of its own.
    lost, refused = 0, importlib.import_module("mlflow.exceptions").MlflowException
    for step in range(40):
        try:
            tracker.log(step, {"loss": step + 0.125, "task_loss": 1 / 3})
        except refused:
            lost += 1
    disk(None)
    (run,) = of_mlflow(tmp_path / STORE)
    assert 10 < len(run.rows["loss"]) < 30
    assert lost >= 40 - len(run.rows["loss"])
    tracker.log(40, {"loss": 40.125})
    tracker.close(Ending("failed", "", {}))
    (run,) = of_mlflow(tmp_path / STORE)
    assert run.rows["loss"][-1] == (40, 40.125)
    assert all(value == step + 0.125 for step, value in run.rows["loss"])


def test_groups_of_a_run_are_in_one_store_and_related(tmp_path: Path) -> None:
    for group in (0, 1):
        line = {"step": 10, "loss": float(group)}
        live(MLflow, tracked(tmp_path, group=group), [line], "preempted")
    runs = of_mlflow(tmp_path / STORE)
    assert [(run.name, run.rows["loss"], run.state) for run in runs] == [
        ("first/group-0", [(10, 0.0)], "KILLED"),
        ("first/group-1", [(10, 1.0)], "KILLED"),
    ]
    assert len({run.related for run in runs}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["group-0", "group-1", "mlflow"]


def test_the_environment_names_another_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    run = tracked(tmp_path / "run")
    assert "elsewhere" in MLflow(run).begin()
    assert not (tmp_path / "run/mlflow").exists()
    assert [one.name for one in of_mlflow(tmp_path / "elsewhere")] == ["first/group-0"]


def test_no_password_gets_into_the_log() -> None:
    assert _without_password("https://me:secret@host:5000/a") == "https://host:5000/a"


def test_a_step_may_have_more_figures_than_one_call_takes(tmp_path: Path, long: None) -> None:
    figures = {f"staleness/{teacher}": 50.0 for teacher in range(1001)}
    tracker = MLflow(tracked(tmp_path))
    tracker.begin()
    tracker.log(10, figures)
    (run,) = of_mlflow(tmp_path / STORE)
    assert set(run.rows) == set(figures)
