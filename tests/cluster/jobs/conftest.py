"""A Slurm on this machine, which needs root, and a queue of shell scripts, which needs nothing."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster import slurm as virtual
from cluster.jobs.shellqueue import PROGRAMS
from conftest import missing

RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "PENDING")

# Small enough for seconds. Loss and weights can be compared between runs.
STEPS = 120
SMALL = {
    "steps": STEPS,
    "batch_size": 4,
    "seed": 7,
    "log_interval": 1,
    "save_interval": 20,
    "validation_interval": 50,
    "validation_examples": 64,
    "model.hidden": 32,
    "model.embedding": 16,
    "model.dropout": 0.1,
    "codistill.exchange_interval": 10,
    "codistill.burn_in": 20,
}


def train_words(data: Path, run: Path, *more: object, **changed: object) -> list[str]:
    """Returns the words of a short training, whose summary is JSON."""
    words: list[object] = ["train", "--data", data, "--run-dir", run, "--json", *more]
    options = SMALL | {name.replace("__", "."): value for name, value in changed.items()}
    words += [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    return [str(word) for word in words]


@dataclass(frozen=True)
class Cluster:
    """Slurm, as a user on its login node has it.

    Attributes:
        environment: Of every command.
        home: The folder that commands are given in.
    """

    environment: Mapping[str, str]
    home: Path

    def call(self, *words: object, check: bool = True) -> str:
        """Returns the output of a command."""
        command = [str(word) for word in words]
        done = subprocess.run(
            command,
            env=dict(self.environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            pytest.fail(f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def submit(self, *options: object, command: Sequence[str]) -> list[dict[str, Any]]:
        """Submits jobs by ``hvcod job submit --json`` and returns them."""
        shown = self.call("hvcod", "job", "submit", "--json", *options, "--", *command)
        jobs: list[dict[str, Any]] = json.loads(shown)
        return jobs

    @property
    def light(self) -> tuple[object, ...]:
        """Options of jobs whose ``hvcod train`` and the like are light.py."""
        return ("--environment", self.home / "light")

    def finish_trainings(self, run: str) -> None:
        """Ends the light trainings of a run, now or as soon as they start."""
        (self.home / run).mkdir(exist_ok=True)
        (self.home / run / "finish").touch()

    def listed(self, run: str) -> list[tuple[str, str, str]]:
        """Returns (name, id, state) of the jobs of a run, from ``hvcod job list``."""
        jobs = json.loads(self.call("hvcod", "job", "list", run, "--json"))
        return [(job["name"], job["id"], job["state"]) for job in jobs]

    def state(self, job: str) -> str:
        """Returns ``PENDING``, ``RUNNING``, ``COMPLETED``, ..."""
        return self.field(job, "JobState")

    def field(self, job: str, name: str) -> str:
        """Returns one of the fields of ``scontrol show job``."""
        shown = self.call("scontrol", "--oneliner", "show", "job", job)
        return shown.partition(f" {name}=")[2].split()[0]

    def until(self, condition: Callable[[], object], seconds: float = 90) -> None:
        """Waits for a condition, and fails if it does not come true."""
        wait_until(condition, self._report, seconds)

    def _report(self) -> str:
        logs = [path.read_text()[-2000:] for path in self.home.glob("*/logs/*")]
        return self.call("squeue", "--all") + "\n".join(logs)

    def finish(self, job: str, seconds: float = 90) -> str:
        """Waits for the end of a job and returns its state."""
        self.until(lambda: self.state(job) not in RUNNING, seconds)
        return self.state(job)

    def steps(self, run: str, group: int = 0) -> list[int]:
        """Returns the steps that a group has logged, in the order of the lines."""
        path = self.home / run / f"group-{group}/metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        lines = [json.loads(x) for x in text.splitlines(keepends=True) if x.endswith("\n")]
        return [line["step"] for line in lines if "loss" in line]

    def signal_ranks(self, job: str, number: signal.Signals) -> list[Path]:
        """Sends a signal to all ranks of a job without Slurm; returns their folders in /proc."""
        ranks = self.ranks(job)
        for process in ranks:
            os.kill(int(process.name), number)
        return ranks

    def ranks(self, job: str) -> list[Path]:
        """Returns the folders in /proc of the ranks of a job."""
        conf = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        ranks = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_text().split("\0")
                # The script and the launchers are not ranks.
                is_rank = any(variable.startswith("PMIX_RANK=") for variable in variables)
                if is_rank and {conf, f"SLURM_JOB_ID={job}"} <= {*variables}:
                    ranks.append(process)
        return ranks

    def preempt(self, job: str, run: str, step: int) -> None:
        """Preempts a job by a more urgent one as soon as its training has reached a step."""
        self.reached(run, step)
        # The training waits until the warning has come, however busy this machine is.
        ranks = self.signal_ranks(job, signal.SIGSTOP)
        self.call(
            "sbatch",
            "--partition=urgent",
            "--nodes=4",
            "--exclusive",
            "--output=/dev/null",
            "--wrap=sleep 1",
        )
        self.until(lambda: sum(map(_is_warned, ranks)) == 2)
        self.signal_ranks(job, signal.SIGCONT)

    def reached(self, run: str, step: int, group: int = 0) -> None:
        """Waits until a group has logged a step."""
        self.until(lambda: self.steps(run, group)[-1:] >= [step])

    def logged(self, run: str, text: str, name: str = "train", times: int = 1) -> None:
        """Waits until a text is in the log of a job, as often as there are ranks to print it."""
        self.until(lambda: self.log(run, name).count(text) >= times)

    def log(self, run: str, name: str = "train") -> str:
        """Returns the log of a job; empty before its start."""
        path = self.home / run / f"logs/{name}.log"
        return path.read_text() if path.exists() else ""

    def summaries(self, run: str, name: str = "train", start: int = 0) -> list[dict[str, Any]]:
        """Returns what a start of a training printed at its end; by default the last one."""
        lines = [line for line in self.log(run, name).splitlines() if line.startswith("[{")]
        found: list[dict[str, Any]] = json.loads(lines[start - 1])
        return found

    def weights(self, run: str) -> list[str]:
        """Returns digests of the weights of all groups, which must have finished."""
        summaries = self.summaries(run)
        assert {each["ended"] for each in summaries} == {"finished"}
        return [each["weights"] for each in summaries]


@pytest.fixture(scope="session")
def slurm(
    mpi_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A Slurm of four nodes."""
    if reason := virtual.unavailable():
        missing(reason)
    if subprocess.run(["unshare", "--mount", "--uts", "--pid", "--fork", "true"]).returncode:
        pytest.skip("no namespaces on this machine: unshare is not permitted")
    with virtual.cluster() as served:
        # The nodes share this machine's network, and its other addresses may come and go.
        network = {"OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_oob_tcp_if_include": "lo"}
        conf = {"SLURM_CONF": str(served.configuration)}
        home = tmp_path_factory.mktemp("cluster")
        light_environment(home / "light", str(Path(sys.executable).with_name("hvcod")))
        yield Cluster({**mpi_environment, **network, **conf}, home)


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "slurm" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("slurm")
        cluster.call("scancel", "--user=root")
        cluster.until(lambda: not cluster.call("squeue", "--noheader"))


@pytest.fixture(scope="session")
def undisturbed(slurm: Cluster, tiny_data: Path) -> list[str]:
    """The weights of two groups of a rank each that trained in one job, launched by srun."""
    (job,) = slurm.submit(*TWO_NODES, command=train_words(tiny_data, Path("undisturbed"), *EXACT))
    assert slurm.finish(job["id"]) == "COMPLETED"
    assert "start 1, on n" in slurm.log("undisturbed")
    return slurm.weights("undisturbed")


TWO_NODES = ("--nodes", 2, "--groups", 2, "--time", "5m")
EXACT = ("--staleness", "exact")


@dataclass(frozen=True)
class ShellJobs:
    """``hvcod job`` with a queue of shell scripts, and light trainings in its jobs.

    Attributes:
        home: The folder that commands are given in; its ``bin/`` comes first on PATH.
    """

    home: Path

    @property
    def queue(self) -> Path:
        """A folder for each job: its process id, log, exit code and arguments of submission."""
        return self.home / "queue"

    def program(self, name: str, text: str) -> None:
        """Puts a shell script on PATH."""
        path = self.home / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Starts ``hvcod job`` with its standard input and output as pipes."""
        path = f"{self.home}/bin:{os.environ['PATH']}"
        return subprocess.Popen(
            [self.home / "bin/hvcod", "job", *words],
            env={**os.environ, "PATH": path, "QUEUE": str(self.queue), **variables},
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs ``hvcod job`` to its end."""
        with self.start(*words, **variables) as process:
            output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def call(self, *words: str) -> str:
        """Returns the output of ``hvcod job``, which must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self, job: str) -> str:
        """Returns the log of a job."""
        path = self.queue / job / "log"
        return path.read_text() if path.exists() else ""

    def until(self, condition: Callable[[], object]) -> None:
        """Waits for a condition, and fails if it does not come true."""
        wait_until(condition, lambda: "\n".join(x.read_text() for x in self.queue.glob("*/log")))


def _is_warned(process: Path) -> bool:
    """Returns whether USR2 waits for a process that is stopped."""
    pending = (process / "status").read_text().partition("ShdPnd:")[2].split()[0]
    return bool(int(pending, 16) >> (signal.SIGUSR2 - 1) & 1)


def wait_until(
    condition: Callable[[], object], explain: Callable[[], str], seconds: float = 90
) -> None:
    """Waits for a condition, and fails with an explanation if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("waited in vain\n" + explain())
        time.sleep(0.05)


def light_environment(folder: Path, hvcod: str) -> None:
    """Makes ``bin/hvcod`` in a folder: ``job`` is the real one, anything else a light training."""
    light = shlex.join([sys.executable, str(Path(__file__).with_name("light.py"))])
    program = folder / "bin/hvcod"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\n[ "$1" = job ] && exec {hvcod} "$@"\nexec {light} "$@"\n')
    program.chmod(0o755)


@pytest.fixture
def shell(tmp_path: Path) -> ShellJobs:
    """An empty queue of shell scripts."""
    jobs = ShellJobs(tmp_path)
    extension = Path(__file__).with_name("shellqueue.py")
    light_environment(tmp_path, shlex.join([sys.executable, str(extension)]))
    jobs.queue.mkdir()
    for name, text in PROGRAMS.items():
        jobs.program(name, text)
    return jobs
