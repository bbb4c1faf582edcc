"""IBM Spectrum LSF with ``jsrun``, as on Summit and the systems after it.

By the user guide of Summit (https://docs.olcf.ornl.gov/systems/summit_user_guide.html) and LSF's
manual (https://www.ibm.com/docs/en/spectrum-lsf/10.1.0). No LSF was at hand: its scripts have been
rendered and checked as shell, but never run.

The script runs on a launch node, and ``jsrun`` starts the ranks on nodes that no other job shares.
Nothing tells whether ``jsrun`` passes signals on, so the ranks watch the clock. ``brequeue`` puts a
job back into the queue under its own id, and its owner may call it.
"""

import os
import re
import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hvcod.cluster.jobs.options import JobOptions
from hvcod.cluster.jobs.schedulers.base import (
    Queued,
    Scheduler,
    answer_of,
    call,
    own_log,
    requeued,
    words_of,
)
from hvcod.cluster.jobs.script import RunningJob, Script
from hvcod.errors import HvcodError

_FIELDS = "jobid jobindex stat run_time pend_reason exec_host exit_code delimiter='|'"


class Lsf(Scheduler):
    """LSF: whole nodes, the ranks watch the clock, and a job that goes on keeps its id."""

    prefix = "#BSUB"
    submit_program = "bsub"
    launcher = "jsrun"
    # Indices of LSF begin at 1, those of groups at 0.
    index = "$((LSB_JOBINDEX - 1))"
    warns = False
    ended_states = frozenset({"DONE", "EXIT"})
    waiting_states = frozenset({"PEND", "PSUSP", "WAIT"})
    time = "W"

    def refusal(self, options: JobOptions) -> str:
        """Refuses a signal, and what only other schedulers have."""
        if not options.by_clock:
            return "--stop-by signal: nothing is known of signals by jsrun; use clock"
        if options.chunk or options.place or options.totals or options.qos:
            return "--chunk, --place, --totals and --qos are not for LSF: use --directives"
        if options.memory:
            return "--memory is not for LSF, which gives whole nodes here: use --directives"
        return ""

    def directives(self, script: Script, folder: Path) -> list[str]:
        """Returns the options of bsub."""
        options = script.options
        name = f"{options.name}-{script.name}"
        if script.indices:
            name += "[{}-{}]".format(*(index + 1 for index in script.indices))
        lines = [f'-J "{name}"']
        lines += options.charge("-P {account}")
        lines += [f"-q {options.partition}"] if options.partition else []
        minutes = -(-int(options.time) // 60)
        lines += [f"-nnodes {options.nodes}", f"-W {minutes // 60}:{minutes % 60:02}"]
        # The script writes its log itself: LSF would add a report of each job to it.
        return [*lines, *filter(None, [options.gpus("")]), "-o /dev/null"]

    def settings(self, line: str) -> dict[str, str]:
        """Returns the options of bsub in a line."""
        found: dict[str, str] = {}
        name = ""
        for word in words_of(line):
            if attached := re.fullmatch(r"-(?:(W)(\d.*)|([JPq])(.+))", word):
                name = attached[1] or attached[3]
                found[name] = attached[2] or attached[4]
            elif word.startswith("-"):
                name = word[1:]
                found[name] = ""
            else:
                found[name] = f"{found.get(name, '')} {word}".strip()
        return found

    def indexes(self, line: str) -> bool:
        """Returns whether a name has indices."""
        return "[" in self.settings(line).get("J", "")

    def seconds(self, text: str) -> float:
        """Returns a wall time of bsub: minutes, or hours and minutes."""
        parts = [int(part) for part in text.split(":")]
        if len(parts) > 2:
            raise ValueError(text)
        return sum(part * 60.0**power for power, part in enumerate(reversed(parts), 1))

    def has_nodes_alone(self, options: JobOptions) -> bool:
        """Returns True: jobs that ask for nodes have them alone."""
        return True

    def preamble(self, script: Script, folder: Path) -> list[str]:
        """Returns the lines that append to the log; LSF starts in the folder of the submission."""
        return own_log(script, folder)

    def submit(self, script: Path, after: Sequence[str] = (), after_any: bool = False) -> str:
        """Submits a script by bsub; it is ended if a job that it needs fails."""
        how = "ended" if after_any else "done"
        needed = " && ".join(f"{how}({job})" for job in after)
        done = call(["bsub", *(["-w", needed, "-ti"] if after else []), str(script)])
        answer = re.search(r"Job <(\d+)> is submitted", done.stdout)
        if answer is None:
            raise HvcodError(
                f"bsub gave no id of a job, but: {answer_of(done)}; see by bjobs whether it has "
                "taken the job"
            )
        return answer[1]

    def queued(self, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
        """Yields jobs by bjobs."""
        done = call(["bjobs", "-a", "-noheader", "-o", _FIELDS, *ids], check=False)
        if done.returncode and "not found" not in done.stderr and not done.stdout.strip():
            raise HvcodError(f"bjobs does not answer: {answer_of(done)}")
        for line in done.stdout.splitlines():
            if line.count("|") != 6:
                raise HvcodError(f"bjobs gives no jobs, but: {line!r}")
            job, index, state, elapsed, waits, nodes, code = (
                "" if field.strip() == "-" else field.strip() for field in line.split("|")
            )
            reason = f"exit code {code}" if code else waits
            name = job if index in ("", "0") else f"{job}[{index}]"
            yield job, Queued(name, state, elapsed, reason, nodes)

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancels by bkill."""
        call(["bkill", *ids])

    def own_id(self) -> str:
        """Returns the id of this job, or of its array."""
        return os.environ.get("LSB_JOBID", "")

    def by_hand(self, job: RunningJob, script: Path) -> list[str]:
        """Returns the command of bsub, for one job of an array if it was one."""
        part = [] if job.index is None else ["-J", f"{job.name}[{job.index + 1}]"]
        return ["bsub", *part, str(script)]

    def start_of(self, job: RunningJob) -> str:
        """Returns the line; the number of the start is counted in the log."""
        return f"job {_job_id()}, start {job.earlier_starts + 1}"

    def may_requeue(self, received: Collection[signal.Signals]) -> bool:
        """Returns whether no TERM came, which bkill sends."""
        return signal.SIGTERM not in received

    def requeue(self, job: RunningJob) -> Iterator[tuple[str, str]]:
        """Requeues the job under its own id; LSF ends this process soon after."""
        done = call(["brequeue", "-r", _job_id()], check=False)
        if not requeued(done):
            raise HvcodError(f"brequeue refused: {answer_of(done)}")
        return iter(())


def _job_id() -> str:
    index = os.environ.get("LSB_JOBINDEX", "0")
    job = os.environ.get("LSB_JOBID", "")
    return job if index == "0" else f"{job}[{index}]"
