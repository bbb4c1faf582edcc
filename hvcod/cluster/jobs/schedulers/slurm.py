"""Slurm, by its manual (https://slurm.schedmd.com/sbatch.html)."""

import os
import re
import shutil
import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.schedulers.base import (
    Queued,
    Scheduler,
    answer_of,
    call,
    id_in,
    requeued,
    words_of,
)
from hvcod.cluster.jobs.script import RunningJob, Script, clock
from hvcod.errors import HvcodError

_LONGEST_WARNING = 65535  # seconds

_UNREACHABLE = ("configuration source", "Unable to contact slurm controller")
"""What sbatch says where there is no Slurm, or it does not answer."""

_LONG = {
    "A": "account",
    "a": "array",
    "C": "constraint",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "G": "gpus-per-node",
    "J": "job-name",
    "N": "nodes",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "t": "time",
}
_SAME = {"gpus": "gpus-per-node", "gpus-per-task": "gpus-per-node", "no-requeue": "requeue"}
_SAME |= {"mem-per-cpu": "mem", "mem-per-gpu": "mem"}
"""Options that ask for the same in another way."""


class Slurm(Scheduler):
    """Slurm: it warns the script by a signal, and requeues a job under the same id."""

    prefix = "#SBATCH"
    submit_program = "sbatch"
    launcher = "srun"
    index = "$SLURM_ARRAY_TASK_ID"
    waiting_states = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD"})
    ended_states = frozenset(
        {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
        | {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
    )

    def refusal(self, options: JobOptions) -> str:
        """Refuses what only PBS has, and a warning that would have to come too early."""
        if options.chunk or options.place or options.totals:
            return "--chunk, --place and --totals are for PBS; with Slurm use --directives"
        if options.by_clock or options.warning <= _LONGEST_WARNING:
            return ""
        return (
            f"--warning {options.warning:g}s: Slurm sends its signal at most {_LONGEST_WARNING} s "
            "before the end; use --stop-by clock"
        )

    def directives(self, script: Script, folder: Path) -> list[str]:
        """Returns the options of sbatch."""
        options = script.options
        named = {"partition": options.partition, "qos": options.qos}
        lines = [f"--job-name={options.name}-{script.name}"]
        lines += options.charge("--account={account}")
        lines += [f"--{name}={value}" for name, value in named.items() if value]
        lines += [f"--nodes={options.nodes}", f"--ntasks-per-node={options.ranks_per_node}"]
        lines += [f"--cpus-per-task={options.cpus_per_rank}"] if options.cpu_request else []
        lines += [f"--mem={memory}"] if (memory := options.memory_of()) else []
        lines += filter(None, [options.gpus("--gpus-per-node={gpus}")])
        lines += ["--exclusive"] if options.exclusive else []
        lines += [f"--time={clock(options.time)}"]
        if script.indices:
            lines.append("--array={}-{}".format(*script.indices))
        # Each start appends to the log of the one before; %2a is the index, in two digits.
        log = f"{script.name}-%2a" if script.indices else script.name
        lines += [f"--output={folder}/logs/{log}.log", "--open-mode=append", "--requeue"]
        if script.saves and not options.by_clock:
            lines.append(f"--signal=B:USR1@{options.warning:.0f}")
        return lines

    def settings(self, line: str) -> dict[str, str]:
        """Returns the options of sbatch in a line, by their long names."""
        found: dict[str, str] = {}
        name = ""
        for word in words_of(line):
            if word.startswith("--"):
                name, _, value = word[2:].partition("=")
            elif word.startswith("-") and len(word) > 1:
                name, value = _LONG.get(word[1], word[1]), word[2:].removeprefix("=")
            else:
                value = word
            name = _SAME.get(name, name)
            # Only requests for GPUs are an alternative to --gpus-per-node.
            if name == "gres" and value.startswith("gpu"):
                name = "gpus-per-node"
            found[name] = value
        return found

    def seconds(self, text: str) -> float:
        """Returns a wall time of sbatch, where a single number is minutes."""
        days, dash, rest = text.rpartition("-")
        parts = [int(part) for part in rest.split(":")]
        if len(parts) > 3:
            raise ValueError(text)
        # Behind days come hours first; without them, two numbers are minutes and seconds.
        units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
        return int(days or 0) * 86400 + sum(a * b for a, b in zip(parts, units, strict=False))

    def has_nodes_alone(self, options: JobOptions) -> bool:
        """Returns whether there is ``--exclusive``, without a value such as ``user``."""
        return self.directed(options).get("exclusive") == ""

    def sizes(self, options: JobOptions) -> dict[str, str]:
        """Returns variables that follow the ``#SBATCH`` lines when somebody edits these."""
        sizes = {"NODES": "$SLURM_JOB_NUM_NODES", "RANKS": "$SLURM_NTASKS"}
        sizes |= {"RANKS_PER_NODE": "$SLURM_NTASKS_PER_NODE"}
        sizes |= {"CPUS_PER_RANK": "$SLURM_CPUS_PER_TASK"} if options.cpu_request else {}
        return super().sizes(options) | sizes

    def test(self, script: Path) -> str:
        """Returns when the job could start, or that Slurm could not be asked."""
        if not shutil.which("sbatch"):
            return "sbatch is not on PATH: Slurm was not asked whether it would take the script"
        try:
            done = call(["sbatch", "--test-only", str(script)])
        except HvcodError as error:
            if not any(text in str(error) for text in _UNREACHABLE):
                raise
            return f"Slurm was not asked whether it would take the script: {error}"
        return done.stderr.strip().removeprefix("sbatch: ")

    def submit(self, script: Path, after: Sequence[str] = (), after_any: bool = False) -> str:
        """Submits a script by sbatch; it is cancelled if a job that it needs fails."""
        needed = ":".join(["afterany" if after_any else "afterok", *after])
        depend = [f"--dependency={needed}", "--kill-on-invalid-dep=yes"] if after else []
        done = call(["sbatch", "--parsable", *depend, str(script)])
        return id_in(done, r"\d+(?:;\S+)?").partition(";")[0]

    def queued(self, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
        """Yields the user's jobs, by squeue."""
        words = ["squeue", "--noheader", "--array", "--states=all", "--me"]
        for line in call([*words, "--format=%F|%i|%T|%M|%r|%N"]).stdout.splitlines():
            if line.count("|") != 5:
                raise HvcodError(f"squeue gives no jobs, but: {line!r}")
            submitted, job, state, elapsed, reason, nodes = line.split("|")
            reason = "" if reason == "None" else reason
            yield submitted, Queued(job, state, elapsed, reason, nodes)

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancels by scancel."""
        call(["scancel", *ids])

    def own_id(self) -> str:
        """Returns the id of this job, or of its array."""
        return os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID", "")

    def by_hand(self, job: RunningJob, script: Path) -> list[str]:
        """Returns the command of sbatch, for one job of an array if it was one."""
        part = [] if job.index is None else [f"--array={job.index}"]
        return ["sbatch", *part, str(script)]

    def start_of(self, job: RunningJob) -> str:
        """Returns the line; Slurm itself counts the starts."""
        restarts = os.environ.get("SLURM_RESTART_COUNT", "")
        start = 1 + (int(restarts) if restarts.isdecimal() else 0)
        nodes = os.environ.get("SLURM_JOB_NODELIST", "unknown nodes")
        return f"job {_job_id()}, start {start}, on {nodes}"

    def may_requeue(self, received: Collection[signal.Signals]) -> bool:
        """Returns whether the job still runs or has reached its time limit; not after scancel."""
        shown = call(["scontrol", "show", "job", _job_id()]).stdout
        return bool(re.search("JobState=RUNNING|Reason=TimeLimit", shown))

    def requeue(self, job: RunningJob) -> Iterator[tuple[str, str]]:
        """Requeues the job under its own id; Slurm ends this process soon after."""
        done = call(["scontrol", "requeue", _job_id()], check=False)
        if not requeued(done):
            raise HvcodError(f"scontrol refused: {answer_of(done)}")
        # Left alone, Slurm waits for two minutes; it starts no job on a node that still cleans up.
        soon = ["scontrol", "update", f"jobid={_job_id()}", "StartTime=now+2"]
        if call(soon, check=False).returncode == -signal.SIGTERM:
            call(soon, check=False)
        return iter(())


def _job_id() -> str:
    if "SLURM_JOB_ID" not in os.environ:
        raise HvcodError("SLURM_JOB_ID is not set: call this in a batch script of Slurm")
    # The last job of an array has the id of the whole array for its SLURM_JOB_ID.
    array, index = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]
