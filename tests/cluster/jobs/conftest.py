"""A Slurm on this machine, and what tests ask of it; it needs root."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster import slurm as virtual
from conftest import missing

RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "PENDING")

# Small enough for seconds. Loss and weights can be compared between runs.
STEPS = 80
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
    """A short training of hvcod, whose summary is JSON."""
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
        """What a command prints."""
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
        """The jobs that ``hvcod job submit --json`` submits."""
        shown = self.call("hvcod", "job", "submit", "--json", *options, "--", *command)
        jobs: list[dict[str, Any]] = json.loads(shown)
        return jobs

    def state(self, job: str) -> str:
        """``PENDING``, ``RUNNING``, ``COMPLETED``, ..."""
        return self.field(job, "JobState")

    def field(self, job: str, name: str) -> str:
        """One of the fields that ``scontrol show job`` has."""
        shown = self.call("scontrol", "--oneliner", "show", "job", job)
        return shown.partition(f" {name}=")[2].split()[0]

    def until(self, condition: Callable[[], object], seconds: float = 90) -> None:
        """Waits for a condition, and fails if it does not come."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = [path.read_text()[-2000:] for path in self.home.glob("*/logs/*")]
                pytest.fail("waited in vain\n" + self.call("squeue", "--all") + "\n".join(logs))
            time.sleep(0.2)

    def finish(self, job: str, seconds: float = 90) -> str:
        """The state in which a job ends."""
        self.until(lambda: self.state(job) not in RUNNING, seconds)
        return self.state(job)

    def start_again(self, job: str) -> None:
        """Starts a requeued job now; Slurm would wait for two minutes."""
        self.until(lambda: self.state(job) == "PENDING")
        self.call("scontrol", "update", f"jobid={job}", "StartTime=now")

    def steps(self, run: str, group: int = 0) -> list[int]:
        """The steps that a group has logged, in the order of the lines."""
        path = self.home / run / f"group-{group}/metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        lines = [json.loads(x) for x in text.splitlines(keepends=True) if x.endswith("\n")]
        return [line["step"] for line in lines if "loss" in line]

    def kill_ranks(self, job: str) -> None:
        """Kills all ranks of a job at once, by no means of Slurm's."""
        conf = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "environ").read_text().split("\0")
                # The script and srun are of no step.
                of_step = any(word.startswith("SLURM_STEP_ID=") for word in words)
                if of_step and {conf, f"SLURM_JOB_ID={job}"} <= {*words}:
                    os.kill(int(process.name), signal.SIGKILL)

    def reached(self, run: str, step: int, group: int = 0) -> None:
        """Waits until a group has logged a step."""
        self.until(lambda: self.steps(run, group)[-1:] >= [step])

    def log(self, run: str, name: str = "train") -> str:
        """The log of a job."""
        return (self.home / run / f"logs/{name}.log").read_text()

    def summaries(self, run: str, name: str = "train") -> list[dict[str, Any]]:
        """What the last start of a training printed."""
        lines = [line for line in self.log(run, name).splitlines() if line.startswith("[{")]
        found: list[dict[str, Any]] = json.loads(lines[-1])
        return found

    def weights(self, run: str) -> list[str]:
        """The digests of the weights of all groups, which must have finished."""
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
        yield Cluster({**mpi_environment, **network, **conf}, tmp_path_factory.mktemp("cluster"))


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
