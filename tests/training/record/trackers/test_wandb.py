"""W&B's own types read what was tracked offline, in one folder of the group."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from training.record.trackers.followed import live, losses, metrics_of, of_wandb, tracked

from hvcod.training.record.trackers.base import Value
from hvcod.training.record.trackers.wandb import WandB


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that W&B sets in the environment is undone, and its service ends."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CACHE_DIR", "DATA_DIR", "ARTIFACT_DIR", "ERROR_REPORTING", "CONFIG_DIR", "MODE"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    yield
    import wandb

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
