"""One start of a job: waits for the launcher, passes warnings on, goes back into the queue.

``hvcod job run`` takes the place of the batch script's shell, once per job, on its first node.
"""

import contextlib
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType

from hvcod.cluster.jobs.record import Submitted, note, submitted, waiting_or_running
from hvcod.cluster.jobs.schedulers.base import Scheduler
from hvcod.cluster.jobs.script import RunningJob
from hvcod.errors import PREEMPTED, HvcodError, OutputError
from hvcod.files.whole import write_below
from hvcod.registry import SCHEDULERS
from hvcod.terminal import one_line, show
from hvcod.training.run.stop_file import COMMAND, StopFile
from hvcod.training.signals import SIGNALS, release

PASSED_ON = signal.SIGUSR2
"""Passed on by srun and mpirun to all ranks. On TERM, mpirun would kill them."""

MOST_TRIES = 5
"""How often a training whose ranks are killed is started again from the same saved state."""


def run(scheduler: str, job: RunningJob, command: Sequence[str], by_clock: bool) -> int:
    """Runs a command to its end, and requeues the job if it exits with 75.

    It also requeues a training of which a rank was killed: see `_may_go_on`. If jobs that it waits
    for have not ended, it only submits itself behind them.

    Returns the command's exit code, or 128 and the number of the signal that ended it. If the
    ranks watch the clock, warnings are not passed on to them.

    Raises:
        HvcodError: The command cannot be started.
    """
    batch_system = SCHEDULERS.load(scheduler)()
    launch, stop_file = _Launch(pass_on=batch_system.warns and not by_clock), StopFile(job.folder)
    _say(batch_system.start_of(job))
    _note_start(scheduler, job)
    if job.waits_for and (code := _gone_behind(scheduler, job)) is not None:
        return code
    code = launch.run(command)
    # Any other code is the end: only 75 means "saved, start me again".
    if code == PREEMPTED:
        if stop_file.is_new():
            _say(f"saved; not back into the queue, because of {COMMAND}")
        else:
            _go_on(scheduler, job, launch.received)
    elif _is_killed(code) and not stop_file.is_new() and _may_go_on(job):
        _go_on(scheduler, job, launch.received, why="a rank was killed")
    return code


def _is_killed(code: int) -> bool:
    """Returns whether a launch ended by a signal that nobody sends on purpose."""
    on_purpose = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return 0 < code - 128 < signal.NSIG and code - 128 not in on_purpose


def _may_go_on(job: RunningJob) -> bool:
    """Returns whether a job is a training that has made steps, and may go on from its last state.

    Notes it in the folder: what kills a rank again and again before the next state is saved is no
    accident.
    """
    named = re.fullmatch(r"train(?:-group(?:-(\d+))?)?", job.name)
    if not named:
        return False
    index = job.index if named[1] is None else int(named[1])
    group = "*" if index is None else f"group-{index}"
    states = job.folder.glob(f"{group}/state/step-*.h5")
    newest = {state.parts[-3]: state.name for state in sorted(states)}
    if not newest and not any(job.folder.glob(f"{group}/metrics.jsonl")):
        return False
    line = " ".join(f"{name}/{state}" for name, state in newest.items()) or "no state"
    path = job.folder / "jobs" / f"{job.log_name}.killed"
    with contextlib.suppress(OSError):
        lines = path.read_text().splitlines() if path.exists() else []
        write_below(job.folder, f"jobs/{path.name}", "\n".join([*lines, line, ""]).encode())
        return lines.count(line) < MOST_TRIES
    return False


def _note_start(scheduler: str, job: RunningJob) -> None:
    """Notes this job in the record, unless it is there: somebody may have submitted it by hand."""
    job_id = SCHEDULERS.load(scheduler)().own_id()
    try:
        if job_id and not any(known.id == job_id for known in submitted(job.folder)):
            note(job.folder, Submitted(scheduler, job.name, job_id))
    except HvcodError as error:
        show(one_line(f"hvcod: {error}"), err=True)


def _gone_behind(scheduler: str, job: RunningJob) -> int | None:
    """Submits a job again behind the jobs that it waits for; None if all of them have ended.

    It was submitted behind them, but where a job that continues gets another id, as on PBS, the
    scheduler does not know that it waits for that one, too. Returns the exit code of this start.

    Raises:
        HvcodError: The scheduler does not say which jobs have ended.
    """
    batch_system = SCHEDULERS.load(scheduler)()
    refusal = ""
    # Twice: one may end in this moment, and the scheduler forget it.
    for _ in range(2):
        if not (ids := _awaited(scheduler, job)):
            return None
        try:
            following = batch_system.submit(job.script, ids, after_any=True)
        except HvcodError as error:
            refusal = str(error)
            continue
        _say(f"{', '.join(ids)} still wait or run: {job.name} goes on behind as job {following}")
        note(job.folder, Submitted(scheduler, job.name, following))
        return PREEMPTED
    show(one_line(f"hvcod: not behind {', '.join(ids)}: {refusal}"), err=True)
    _say_how_to_go_on(batch_system, job)
    return 1


def _awaited(scheduler: str, job: RunningJob) -> list[str]:
    return [
        other.id
        for other in waiting_or_running(job.folder)
        if other.name in job.waits_for and other.scheduler == scheduler
    ]


def _go_on(
    scheduler: str, job: RunningJob, received: Collection[signal.Signals], why: str = "saved"
) -> None:
    """Puts a job that is not done back into the queue, or says why it is not and what to do."""
    batch_system = SCHEDULERS.load(scheduler)()
    goes_on = False
    try:
        if not batch_system.may_requeue(received):
            return
        _say(f"{why}; back into the queue")
        for name, job_id in batch_system.requeue(job):
            goes_on = True
            _say(f"{name} goes on as job {job_id}")
            note(job.folder, Submitted(scheduler, name, job_id))
    except (HvcodError, OSError) as error:
        failed = "" if goes_on else "not back in the queue: "
        show(one_line(f"hvcod: {failed}{error}"), err=True)
        if not goes_on:
            with contextlib.suppress(OSError):
                _say_how_to_go_on(batch_system, job)


def _say_how_to_go_on(batch_system: Scheduler, job: RunningJob) -> None:
    """Prints the commands for a user whose job could not put itself back into the queue."""
    words = batch_system.by_hand(job, _kept_script(job))
    _say(f"all is saved; to go on: cd {shlex.quote(str(Path.cwd()))} && {shlex.join(words)}")
    if job.followed_by:
        _say(f"and then {job.folder}/jobs/{job.followed_by}.sh, which waited for this job")


def _kept_script(job: RunningJob) -> Path:
    """Returns the job's script in its folder; a scheduler deletes its own copy with the job."""
    path = job.folder / "jobs" / f"{job.name}.sh"
    if not path.exists():
        write_below(job.folder, f"jobs/{path.name}", job.script.read_bytes())
    return path


class _Launch:
    """A launcher, and the signals that arrive while it runs."""

    def __init__(self, pass_on: bool) -> None:
        self.received: set[signal.Signals] = set()
        self._pass_on = pass_on
        self._process: subprocess.Popen[bytes] | None = None
        for number in SIGNALS:
            signal.signal(number, self._warned)
        release()

    def run(self, command: Sequence[str]) -> int:
        """Starts the command, waits for it, and returns its exit code."""
        try:
            self._process = subprocess.Popen(command)
        except OSError as error:
            raise HvcodError(f"cannot start {command[0]}: {error.strerror}") from error
        if self.received:
            self._warn()
        # Signals do not end this wait.
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def _warned(self, number: int, frame: FrameType | None) -> None:
        self.received.add(signal.Signals(number))
        self._warn()

    def _warn(self) -> None:
        if self._process and self._pass_on:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(PASSED_ON)


def _say(text: str) -> None:
    # A full disk, which the log shares with the run, does not end the job.
    with contextlib.suppress(OutputError):
        show(f"{time.strftime('%FT%T')} {one_line(text)}")
