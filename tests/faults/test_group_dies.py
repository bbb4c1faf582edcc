"""A group does not die with another: its teacher stays what it was last."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forkserver.launches import ForkServer, Launch

from hvcod.exchange import published_directory
from hvcod.tensorfile.steps import list_steps

ENDLESS, INTERVAL, BURN_IN, LOG = 10**6, 10, 40, 5

SMALL = {
    "steps": ENDLESS,
    "batch_size": 4,
    "log_interval": LOG,
    "validation_interval": ENDLESS,
    "validation_examples": 64,
    "model.hidden": 32,
    "model.embedding": 16,
    "codistill.exchange_interval": INTERVAL,
    "codistill.burn_in": BURN_IN,
}


def start(server: ForkServer, data: Path, run: Path, group: int) -> Launch:
    """A launch of two ranks that is one of the two groups."""
    words: list[object] = ["hvcod", "train", "--data", data, "--run-dir", run]
    words += ["--groups", 2, "--group", group, "--json"]
    words += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    with (run.parent / f"errors-{group}").open("w") as errors:
        return server.start(2, *words, stderr=errors)


def logged(run: Path, group: int) -> list[dict[str, Any]]:
    """The whole lines about training steps that are there by now."""
    path = run / f"group-{group}/metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line for line in found if "loss" in line]


def wait_until(condition: Callable[[], object], launch: Launch) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert launch.poll() is None, "the launch ended early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_group_goes_on_with_the_last_teacher_when_the_other_group_is_killed(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    launches = [start(fast_mpirun, tiny_data, run, group) for group in range(2)]
    survivor, victim = launches
    try:
        wait_until(lambda: any(line["teachers"] for line in logged(run, 0)), survivor)
        assert victim.poll() is None
        victim.kill_all()
        assert victim.returncode == -signal.SIGKILL
        killed_at = logged(run, 0)[-1]["step"]
        wait_until(lambda: logged(run, 0)[-1]["step"] >= killed_at + 200, survivor)
        for process in survivor.processes().values():
            os.kill(process, signal.SIGUSR1)
        (summary,) = json.loads(survivor.communicate(timeout=300)[0])
    finally:
        for launch in launches:
            launch.kill_all()

    assert survivor.returncode == 75
    steps = summary["steps"]
    last = list_steps(published_directory(run, 1))[-1]
    lines = logged(run, 0)
    assert [line["step"] for line in lines] == list(range(LOG, steps + 1, LOG))
    taught = [line["teachers"].get("1") for line in lines]
    first = next(index for index, teacher in enumerate(taught) if teacher is not None)
    assert taught[first:] == sorted(taught[first:])  # never without a teacher again, never back
    assert taught[-10:] == [last] * 10
    assert all(line["distill_loss"] > 0 for line in lines[first:])
    assert lines[-1]["staleness"]["1"] == lines[-1]["step"] - last
