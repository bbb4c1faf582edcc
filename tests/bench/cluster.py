"""Runs on a Slurm of virtual nodes, for `bench.goodput`: their jobs, ranks and steps."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

LONGEST_LINE = 4096


@dataclass(frozen=True)
class Arm:
    """A run in the queue, of four ranks.

    Attributes:
        groups: One, or two with a job each.
        seen: Its directory, through a file system that does not stall.
    """

    name: str
    groups: int
    seen: Path

    def steps(self) -> list[int]:
        """Returns the last step of each group, 0 before the first."""
        return [last_step(self.seen / f"group-{n}/metrics.jsonl") for n in range(self.groups)]

    def group_of(self, rank: int) -> int:
        """Returns the group of one of the four ranks."""
        return rank * self.groups // 4

    def kill(self, rank: int) -> bool:
        """Kills one of the four ranks; returns False if it does not run."""
        of_group = 4 // self.groups
        wanted = {f"PMIX_RANK={rank % of_group}"}
        if self.groups > 1:
            wanted.add(f"SLURM_ARRAY_TASK_ID={self.group_of(rank)}")
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_text().split("\0")
                variables = (process / "environ").read_text().split("\0")
                if self.name in words and wanted <= {*variables}:
                    os.kill(int(process.name), signal.SIGKILL)
                    return True
        return False


def last_step(path: Path) -> int:
    """Returns the step of the last whole line of a file of metrics; 0 if there is none."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LONGEST_LINE))
        for line in reversed(file.read().splitlines(keepends=True)[:]):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["step"])
    return 0


@dataclass(frozen=True)
class Cluster:
    """Slurm, as a user on its login node has it.

    Attributes:
        programs: The environment of its jobs.
        home: Where runs are, on a file system that may stall.
        seen: The same folder through another client.
        stall: What stalls it.
    """

    environment: Mapping[str, str]
    programs: Path
    home: Path
    seen: Path
    stall: Any

    def call(self, *words: object) -> str:
        """Returns the output of a command."""
        command = [str(word) for word in words]
        done = subprocess.run(
            command, env=dict(self.environment), cwd=self.home, capture_output=True, text=True
        )
        if done.returncode:
            raise click.ClickException(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, name: str, groups: int, words: Sequence[object]) -> Arm:
        """Submits a run of four ranks on two nodes, with a job for each of its groups."""
        options: list[object] = ["--time", "1h", "--ranks-per-node", 2, "--groups", groups]
        options += ["--environment", self.programs]
        options += ["--nodes", 1, "--job-per-group"] if groups > 1 else ["--nodes", 2]
        self.call("hvcod", "job", "submit", *options, "--", "train", "--run-dir", name, *words)
        return Arm(name, groups, self.seen / name)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Waits for a condition."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = [log.read_text()[-2000:] for log in self.seen.glob("*/logs/*")]
                raise click.ClickException("\n".join([self.call("squeue"), *logs]))
            time.sleep(0.2)

    def keep_logs(self, output: Path) -> None:
        """Copies the logs of all jobs."""
        for log in self.seen.glob("*/logs/*"):
            shutil.copy(log, output / f"{log.parts[-3]}-{log.name}")

    def cancel(self) -> None:
        """Takes all jobs out of the queue, and waits for their end."""
        self.call("scancel", "--user=root")
        self.wait_for(lambda: not self.call("squeue", "--noheader").strip())
