"""Trackers from the command line: what the libraries read afterwards is what the metrics say."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from forkserver.launches import ForkServer
from mpi.test_resume import command, finished, lines, losses, wait_for
from training.record.trackers.followed import Read, of_mlflow, of_tensorboard, of_wandb

OFFLINE = {"WANDB_MODE": "", "MLFLOW_TRACKING_URI": ""}
TRACKERS = ["--tracker", "tensorboard,mlflow", "--tracker", "wandb"]


def checked(run: Path, group: int) -> tuple[Read, Read]:
    """Returns how MLflow and W&B have a group, once all trackers proved to have its losses."""
    wanted = losses(run, group)
    assert [step for step, _ in wanted] == sorted({step for step, _ in wanted})
    mlflow, wandb = of_mlflow(run / "mlflow")[group], of_wandb(run / f"group-{group}")
    assert wandb.rows["loss"] == wanted
    assert mlflow.rows["loss"] == wanted
    seen = of_tensorboard(run / f"group-{group}/tensorboard")["loss"]
    assert dict(seen) == pytest.approx(dict(wanted))  # in single precision
    return mlflow, wandb


def own_processes(run: Path) -> list[str]:
    """Returns the processes that work in a run's folders or name it in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(run) in f"{words} {(process / 'cwd').readlink()}":
                found.append(words)
        except OSError:
            continue
    return found


def test_a_run_is_tracked_by_all_libraries_below_its_directory_only(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    run, groups = tmp_path / "run", scale(1, 2)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    outside = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    words = command(tiny_data, run, *TRACKERS, groups=groups, steps=20, log_interval=5)
    ranks = groups if groups > 1 else 0
    done = fast_mpirun(ranks, *words, env={**OFFLINE, **outside})
    for name, hint in {
        "tensorboard": f"tensorboard --logdir {run}",
        "mlflow": f"mlflow server --backend-store-uri {run}/mlflow",
        "wandb": f"wandb sync {run}/group-0/wandb/offline-run-",
    }.items():
        assert re.search(f"tracker {name}: .*{re.escape(hint)}", done.stderr)
    for summary in json.loads(done.stdout):
        # Whether the other group has published by then is a matter of pace.
        assert [name for name in summary["problems"] if name.startswith("tracker")] == []
        mlflow, wandb = checked(run, summary["group"])
        assert (mlflow.state, wandb.state) == ("FINISHED", "exit 0")
        assert mlflow.id in summary["trackers"]["mlflow"]
        assert wandb.id in summary["trackers"]["wandb"]
        validation = summary["validation_loss"]
        assert mlflow.rows["summary/validation_loss"] == [(20, validation)]
        assert wandb.rows["validation_loss"][-1] == (20, validation)
        assert mlflow.options["codistill.burn_in"] == "20"
        assert wandb.options["run"]["data_content"] == mlflow.options["run.data_content"] != ""
        assert wandb.related == "run"
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "tmp").iterdir())
    assert not own_processes(run)


def test_a_run_that_is_killed_and_resumed_goes_on_in_the_same_tracked_runs(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, long: None
) -> None:
    run = tmp_path / "run"
    changed = {"codistill__staleness": "exact", "groups": 2, "log_interval": 5, "steps": 400}
    words = command(tiny_data, run, *TRACKERS, **changed)

    def reached(step: int) -> bool:
        return all(done and done[-1]["step"] >= step for done in (lines(run), lines(run, 1)))

    for step in (70, 150, 230):
        launch = fast_mpirun.start(2, *words, env=OFFLINE)
        wait_for(launch, functools.partial(reached, step))
        launch.kill_all()
        launch.communicate(timeout=120)
    summaries = finished(fast_mpirun, 2, words)
    assert [summary["problems"] for summary in summaries] == [{}, {}]
    tracked = [one.id for group in (0, 1) for one in checked(run, group)]
    assert len(set(tracked)) == 4
    assert len(of_mlflow(run / "mlflow")) == 2
    assert not own_processes(run)
