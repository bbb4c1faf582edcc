"""Launches of runs, or of single groups of a run, on file systems that are about to be harmed."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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
    """An ``mpirun``; what still runs of it is killed in the end.

    Attributes:
        process: The mpirun; it leads a session.
        log: Where its standard error goes: not to the file system that is harmed.
        folder: The (first) group's part of the run directory, as this launch sees it.
    """

    process: subprocess.Popen[str]
    log: Path
    folder: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

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


def start(
    environment: Mapping[str, str],
    run_dir: Path,
    group: int | None,
    log: Path,
    options: Mapping[str, object],
    *,
    groups: int = 2,
    ranks: int = 1,
    program: Sequence[object] = ("hvcod",),
    core: int | None = None,
) -> Launch:
    """Starts one group, or all of them.

    Args:
        environment: Of the mpirun.
        run_dir: The run directory as this group's node sees it.
        group: Its number; None for all groups of the run.
        log: Where its standard error goes.
        options: By key.
        groups: How many groups the run has.
        ranks: How many ranks this launch has.
        program: What is called instead of ``hvcod``.
        core: All ranks run on this core, if one is named.
    """
    words: list[object] = ["taskset", "--cpu-list", core] if core is not None else []
    words += ["mpirun", "-np", ranks, *program, "train", "--run-dir", run_dir]
    words += ["--groups", groups, "--json", *([] if group is None else ["--group", group])]
    words += [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    with log.open("a") as errors:
        process = subprocess.Popen(
            [str(word) for word in words],
            env=dict(environment),
            cwd=log.parent,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    return Launch(process, log, run_dir / f"group-{group or 0}")


def step_lines(folder: Path) -> list[dict[str, Any]]:
    """The whole lines about training steps in a group's metrics."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [line for line in found if "loss" in line]
