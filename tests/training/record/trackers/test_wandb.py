"""W&B's own types read what was tracked offline, in one folder of the group."""

import importlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from training.record.trackers.followed import live, losses, metrics_of, of_wandb, tracked
from training.record.trackers.wandb_server import serving

from hvcod.training.record.trackers.base import Value
from hvcod.training.record.trackers.wandb import WandB

# By name: it need not be installed where the rest is checked.
wandb: Any = importlib.import_module("wandb")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that W&B sets in the environment is undone, and its service ends."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CACHE_DIR", "DATA_DIR", "ARTIFACT_DIR", "ERROR_REPORTING", "CONFIG_DIR", "MODE"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    yield
    wandb.teardown()


def test_a_resumed_run_is_one_offline_run_with_the_steps_of_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Value] = {"codistill.burn_in": 5, "steps": 40, "run.hvcod": "0.2.0"}
    first = [{"step": step, "loss": 1.5, "teachers": {"1": 5}} for step in (10, 20, 30)]
    first.append({"step": 30, "validation_loss": 3.0})
    live(WandB, tracked(tmp_path, values=options), first, "killed")
    before = of_wandb(tmp_path / "group-0")
    assert (before.name, before.related, before.state) == ("first/group-0", "first", "exit 137")
    assert before.options["codistill"] == {"burn_in": 5}
    assert before.options["run"] == {"hvcod": "0.2.0"}
    assert before.rows["loss"] == losses(first)
    assert before.rows["validation_loss"] == [(30, 3.0)]
    run = tracked(tmp_path, after=20, values={**options, "steps": 60})
    hint = live(WandB, run, [{"step": 30, "loss": 2.5}, {"step": 40, "loss": 2.5}], "finished")
    after = of_wandb(run.folder)
    (folder,) = run.folder.glob("wandb/offline-run-*")
    assert hint == f"send it to the server with: wandb sync {folder}"
    assert (after.id, after.state) == (before.id, "exit 0")
    assert after.options["steps"] == 60
    assert after.rows["loss"] == losses(metrics_of(run.folder))
    assert [step for step, _ in after.rows["loss"]] == [10, 20, 30, 40]
    assert after.rows["teachers/1"] == [(10, 5), (20, 5)]
    assert "validation_loss" not in after.rows  # it was trained again, and not validated
    live(WandB, tracked(tmp_path, group=1), [{"step": 10, "loss": 1.0}], "preempted")
    other = of_wandb(tmp_path / "group-1")
    assert (other.related, other.state) == (before.related, "exit 75")
    assert other.id != before.id


KEY = {"WANDB_API_KEY": "0" * 40}


def test_wandb_sync_sends_what_the_metrics_have_and_again_after_the_run_was_resumed(
    tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    """W&B's own reader of offline runs, and the command that the hint names."""
    launches = ((0, (10, 20, 30)), (20, (30, 40)))
    with serving() as (address, runs):
        for number, (after, steps) in enumerate(launches):
            lines = [{"step": step, "loss": step + 0.5 + after} for step in steps]
            hint = live(WandB, run := tracked(tmp_path, after=after), lines, "finished")
            wandb.teardown()
            if number < scale(1, 0):
                continue
            sync(hint, address, tmp_path)
            ((_, sent),) = runs.items()
            assert losses([{**row, "step": row["_step"]} for row in sent.rows]) == losses(
                metrics_of(run.folder)
            )
    assert (sent.about["groupName"], sent.about["displayName"]) == ("first", "first/group-0")
    assert sent.exit_code == 0


def sync(hint: str, address: str, home: Path) -> None:
    """Calls what the hint at the end of a run names, for a server."""
    words = shlex.split(hint.partition(": ")[2])
    assert words[:2] == ["wandb", "sync"]
    environment = {**os.environ, **KEY, "WANDB_BASE_URL": address, "HOME": str(home)}
    command = [sys.executable, "-m", *words]
    # It leaves logs in the folder where it is called.
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=home)


def test_online_a_resumed_run_sends_what_the_server_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as (address, runs):
        for name, value in {**KEY, "WANDB_BASE_URL": address, "WANDB_MODE": "online"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        lines = [{"step": step, "loss": float(step)} for step in (10, 20)]
        live(WandB, run := tracked(tmp_path), lines, "killed")
        wandb.teardown()
        with (run.folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 30, "loss": 30.0}\n')  # The server did not get it.
        live(WandB, tracked(tmp_path, after=30), [{"step": 40, "loss": 40.0}], "finished")
        ((_, sent),) = runs.items()
        assert [(row["_step"], row["loss"]) for row in sent.rows] == losses(metrics_of(run.folder))
        assert sent.exit_code == 0
