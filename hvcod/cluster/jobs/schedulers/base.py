"""The contract of a batch scheduler: text for its scripts, and the requests that it answers."""

import abc
import dataclasses
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.script import RunningJob, Script
from hvcod.errors import HvcodError, UsageError
from hvcod.terminal import one_line
from hvcod.values import Duration

_SECONDS = 60
_LONGEST_ANSWER = 500  # characters


@dataclass(frozen=True)
class Queued:
    """A job, or one job of an array, as its scheduler reports it.

    Attributes:
        state: In the scheduler's words, such as ``RUNNING`` (Slurm) or ``R`` (PBS).
        elapsed: Wall time used so far; may be empty.
        reason: Why it waits, or how it ended; may be empty.
    """

    id: str
    state: str
    elapsed: str
    reason: str
    nodes: str


class Scheduler(abc.ABC):
    """A batch scheduler, reached through its command-line programs.

    Attributes:
        prefix: The start of a line of a script that the scheduler reads.
        submit_program: The program that submits scripts; where it is on PATH, so is the scheduler.
        launcher: The launcher used unless the options name one.
        index: The index of a job in its array, as a word of bash.
        warns: A signal comes before the end of the wall time.
        keeps_id: A job that goes back into the queue keeps its id, so that jobs that wait for it go
            on waiting.
        waiting_states: The states of jobs that have not started.
        ended_states: The states of jobs that have ended.
        time: The name of the setting of the wall time, as `settings` returns it.
        array: The name of the setting that makes an array of jobs.
        has_remote_shell: There is a program that starts commands on other nodes of a job.
    """

    prefix: ClassVar[str]
    submit_program: ClassVar[str]
    launcher: ClassVar[str]
    index: ClassVar[str] = "$INDEX"
    warns: ClassVar[bool] = True
    keeps_id: ClassVar[bool] = True
    waiting_states: ClassVar[Collection[str]]
    ended_states: ClassVar[Collection[str]]
    time: ClassVar[str] = "time"
    array: ClassVar[str] = "array"
    has_remote_shell: ClassVar[bool] = False

    def refusal(self, options: JobOptions) -> str:
        """Returns why this scheduler cannot serve the options; empty if it can."""
        return ""

    @abc.abstractmethod
    def directives(self, script: Script, folder: Path) -> list[str]:
        """Returns what the job asks for, without the prefix; logs go to ``folder/logs``."""

    def settings(self, line: str) -> Mapping[str, str]:
        """Returns what a line of directives sets: {name of the setting: value}."""
        name, _, value = line.replace("=", " ", 1).partition(" ")
        return {name: value}

    def asked(self, script: Script, folder: Path) -> list[str]:
        """Returns all directives; the user's own replace those that set the same."""
        own, given = self.directives(script, folder), script.options.directive_lines
        if not script.indices:
            given = [line for line in given if not self.indexes(line)]
        taken = {name for line in given for name in self.settings(line)}
        return [line for line in own if taken.isdisjoint(self.settings(line))] + given

    def indexes(self, line: str) -> bool:
        """Returns whether a directive makes an array of jobs."""
        return self.array in self.settings(line)

    def directed(self, options: JobOptions) -> dict[str, str]:
        """Returns what all of the user's own directives set."""
        return {k: v for x in options.directive_lines for k, v in self.settings(x).items()}

    def as_directed(self, options: JobOptions) -> JobOptions:
        """Returns the options with the wall time of the user's own directives, if they set it."""
        text = self.directed(options).get(self.time)
        if text is None:
            return options
        try:
            time = self.seconds(text)
        except ValueError:
            raise UsageError(f"--directives: {text!r} is no wall time; use --time") from None
        return dataclasses.replace(options, time=Duration(time))

    def seconds(self, text: str) -> float:
        """Returns a wall time, as the scheduler reads it. Raises ValueError."""
        return Duration(text)

    def has_nodes_alone(self, options: JobOptions) -> bool:
        """Returns whether the user's own directives ask for nodes without other jobs."""
        return False

    def preamble(self, script: Script, folder: Path) -> list[str]:
        """Returns the first commands of a script."""
        return []

    def sizes(self, options: JobOptions) -> dict[str, str]:
        """Returns the variables of a script that a launcher's words may use, with their values."""
        return {
            "NODES": str(options.nodes),
            "RANKS": str(options.ranks),
            "RANKS_PER_NODE": str(options.ranks_per_node),
            "CPUS_PER_RANK": str(options.cpus_per_rank),
            "GPUS": str(options.nodes * options.gpus_per_node),
            "GPUS_PER_NODE": str(options.gpus_per_node),
        }

    def mpirun_words(self, options: JobOptions) -> list[str]:
        """Returns words of bash by which Open MPI finds its nodes and passes variables on."""
        return []

    def remote_shell(self, host: str) -> list[str]:
        """Returns the words that start a command on another host of this job, without ssh.

        Raises:
            HvcodError: The scheduler has no such program, or the host is not in this job.
        """
        raise HvcodError(f"{type(self).__name__} has no remote shell: use ssh")

    def test(self, script: Path) -> str:
        """Asks whether the scheduler would take a script, and returns its answer, if any.

        Raises:
            HvcodError: It would not.
        """
        return ""

    @abc.abstractmethod
    def submit(self, script: Path, after: Sequence[str] = (), after_any: bool = False) -> str:
        """Submits a script and returns the job's id.

        Args:
            script: The script's file.
            after: Ids of jobs that must have succeeded first.
            after_any: These jobs only need to have ended, well or not.

        Raises:
            HvcodError: The scheduler refuses, with its reason.
        """

    @abc.abstractmethod
    def queued(self, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
        """Yields (id at submission, job) for the jobs that the scheduler still knows.

        An array yields several jobs; jobs that were not asked for may be among them.

        Raises:
            HvcodError: The scheduler does not answer.
        """

    @abc.abstractmethod
    def cancel(self, ids: Sequence[str]) -> None:
        """Cancels jobs and whole arrays, given in the order of submission. Raises HvcodError."""

    def own_id(self) -> str:
        """Returns the id at submission of the job in which this process runs; empty if unknown."""
        return ""

    def by_hand(self, job: RunningJob, script: Path) -> list[str]:
        """Returns the command by which a user submits a job again that went no further."""
        return [self.submit_program, str(script)]

    @abc.abstractmethod
    def start_of(self, job: RunningJob) -> str:
        """Returns a line about this start of a job: its id, the number of the start, its nodes."""

    @abc.abstractmethod
    def may_requeue(self, received: Collection[signal.Signals]) -> bool:
        """Returns whether this job, which has saved, should run again: nobody has cancelled it.

        Args:
            received: The signals that this start has received.
        """

    @abc.abstractmethod
    def requeue(self, job: RunningJob) -> Iterator[tuple[str, str]]:
        """Puts a job back into the queue.

        Yields (name, id) of each job submitted in its place. Raises HvcodError.
        """


def words_of(line: str) -> list[str]:
    """Returns the words of a directive that the user has given. Raises UsageError."""
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise UsageError(f"--directives {line!r}: {error}") from error


def own_log(script: Script, folder: Path) -> list[str]:
    """Returns lines of a script that append its output to its log, in place of the scheduler."""
    log = f'{script.name}-$(printf %02d "$INDEX")' if script.indices else script.name
    return [f"mkdir -p {folder}/logs || exit 1", f'exec >>"{folder}/logs/{log}.log" 2>&1']


def call(words: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a program of the scheduler.

    Raises:
        HvcodError: It is missing, cannot be started or is too slow, or with ``check`` it fails.
    """
    if not shutil.which(words[0]):
        raise HvcodError(f"{words[0]} is not on PATH: use a login node of the cluster")
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HvcodError(
            f"{words[0]} has not answered for {_SECONDS} s; it may do all the same what it was "
            "asked to: see in the queue"
        ) from error
    except OSError as error:
        raise HvcodError(f"cannot start {words[0]}: {error.strerror}") from error
    if check and done.returncode:
        raise HvcodError(f"{words[0]} refused: {answer_of(done)}")
    return done


def id_in(done: subprocess.CompletedProcess[str], pattern: str) -> str:
    """Returns the id of a job that was submitted: the last line that the pattern matches.

    Raises:
        HvcodError: There is none, although the program has succeeded.
    """
    # Some sites print advice before it.
    matches = re.findall(rf"^\s*({pattern})\s*$", done.stdout, re.ASCII | re.MULTILINE)
    if not matches:
        raise HvcodError(
            f"{done.args[0]} gave no id of a job, but: {answer_of(done)}; "
            "see in the queue whether it has taken the job"
        )
    return str(matches[-1])


def requeued(done: subprocess.CompletedProcess[str]) -> bool:
    """Returns whether a program has requeued the job in which it ran."""
    # That ends all processes of the job by TERM, and the program is one of them.
    return done.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def answer_of(done: subprocess.CompletedProcess[str]) -> str:
    """Returns what a program printed, on one line, without what a terminal would obey."""
    text = "; ".join((done.stderr.strip() or done.stdout.strip()).splitlines())
    return one_line(text[:_LONGEST_ANSWER]) or f"exit code {done.returncode}"
