"""Launches of runs on file systems that are about to be harmed."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMALL: Mapping[str, object] = {
    "batch_size": 4,
    "log_interval": 1,
    "validation_interval": 10**6,
    "validation_examples": 64,
    "model.hidden": 32,
    "model.embedding": 16,
    "codistill.exchange_interval": 20,
    "codistill.burn_in": 20,
}


@dataclass
class Launch:
    """A running ``mpirun`` of which every process runs on the same core.

    Attributes:
        process: The mpirun; it leads a session.
        log: Where its standard error goes: not to the file system that is harmed.
    """

    process: subprocess.Popen[str]
    log: Path

    def kill(self) -> None:
        """Kills all its processes at once, if they still run."""
        for entry in Path("/proc").glob("[0-9]*"):
            # mpirun gives its ranks process groups of their own, but stays their session's leader.
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == self.process.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
        self.process.wait()

    def is_running(self) -> bool:
        return self.process.poll() is None


def train(
    run_dir: Path, options: Mapping[str, object], groups: int, group: int | None = None
) -> list[object]:
    """The words after ``hvcod`` that train all groups of a run, or one of them.

    Args:
        run_dir: The run directory as this launch sees it.
        options: By key.
        groups: How many groups the run has.
        group: The only group of this launch.
    """
    words: list[object] = ["train", "--run-dir", run_dir, "--groups", groups, "--json"]
    words += [] if group is None else ["--group", group]
    return words + [word for key, value in options.items() for word in ("--set", f"{key}={value}")]


def start_on(
    core: int, environment: Mapping[str, str], words: Sequence[object], log: Path
) -> Launch:
    """Starts one rank on one core; its standard error is added to `log`."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [str(word) for word in ("taskset", "--cpu-list", core, "mpirun", "-np", 1, *words)],
            env=dict(environment),
            cwd=log.parent,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )
    return Launch(process, log)


def step_lines(folder: Path) -> list[dict[str, Any]]:
    """The whole lines about training steps in a group's metrics."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [line for line in found if "loss" in line]
