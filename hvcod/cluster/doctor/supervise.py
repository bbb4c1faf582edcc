"""Runs stages that may crash or hang in a process of their own, which can be abandoned.

The process that `mpirun` or `srun` started does not start MPI itself: its child does, and is the
rank. So whatever an installation does (a library that crashes when it is loaded, an `MPI_Init`
that never returns), the parent is left to report it.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NoReturn

from hvcod.cluster.doctor.facts import Outcome
from hvcod.errors import HvcodError, reason_of

_PR_SET_PDEATHSIG = 1
_LAST_WORDS = 2.0


@dataclass(frozen=True)
class Stage:
    """One step of the examination.

    Attributes:
        name: Name of its outcome.
        run: Returns its facts (a dataclass of `facts`), given the outcomes so far.
        needs: Stages that must have succeeded before.
        patience: Longest wait, as a multiple of the usual one.
        if_late: The likely cause and the advice if it takes longer.
    """

    name: str
    run: Callable[[Mapping[str, Outcome]], Any]
    needs: tuple[str, ...] = ()
    patience: float = 1.0
    if_late: str = "slow file system? raise --patience"


class _Told(BaseException):
    """Raised when the launch is being ended from outside."""


def supervise(stages: Sequence[Stage], patience: float) -> dict[str, Outcome]:
    """Runs stages one after another, survives whatever they do, and returns {name: outcome}.

    A stage that kills its process, or takes longer than `patience` seconds, is abandoned, and the
    others go on in a new process. Ends early on SIGTERM, which a launcher sends when another rank
    has failed. From then on this process ignores SIGTERM, so that it can still report.
    """
    outcomes: dict[str, Outcome] = {}
    before = signal.signal(signal.SIGTERM, _note)
    try:
        while left := [stage for stage in stages if stage.name not in outcomes]:
            _Child(left, outcomes).watch(patience)
    except _Told:
        ended = Outcome(problem="the launch was ended before this stage", reached=False)
        outcomes |= {s.name: ended for s in stages if s.name not in outcomes}
        before = signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    return outcomes


def _note(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Told


class _Child:
    """A process that runs stages and reports the outcome of each."""

    def __init__(self, stages: Sequence[Stage], outcomes: dict[str, Outcome]) -> None:
        self._stages, self._outcomes = stages, outcomes
        self._reports, there = Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # Until `watch` can take it: what the child reports would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self._process = os.fork()
        if self._process == 0:
            _work(stages, outcomes, there, parent)
        there.close()

    def watch(self, patience: float) -> None:
        """Takes reports until the process is done, dead or too late."""
        ended = False
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            for stage in self._stages:
                begun = time.perf_counter()
                given_up = self._report_of(stage, stage.patience * patience)
                if given_up:
                    seconds = time.perf_counter() - begun
                    self._outcomes[stage.name] = replace(given_up, seconds=seconds)
                    return
            ended = True
        except _Told:
            self._note_the_end()
            raise
        finally:
            self._end(_LAST_WORDS if ended else 0.0)

    def _note_the_end(self) -> None:
        """Takes the reports that have come, and names the stage that was running."""
        left = [stage.name for stage in self._stages if stage.name not in self._outcomes]
        with suppress(EOFError):
            while left and self._reports.poll():
                self._outcomes[left[0]] = self._reports.recv()
                del left[0]
        if left:
            self._outcomes[left[0]] = Outcome(
                problem="the launch was ended during this stage: another rank may have failed, "
                "and printed the reason on standard error"
            )

    def _report_of(self, stage: Stage, seconds: float) -> Outcome | None:
        """Waits for one outcome; returns a substitute if it will never come."""
        if not self._reports.poll(seconds):
            return Outcome(problem=f"no answer within {seconds:g} s: {stage.if_late}", late=True)
        # A signal in the midst of a report would lose it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            self._outcomes[stage.name] = self._reports.recv()
        except EOFError:
            return Outcome(problem=self._cause_of_death())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None

    def _cause_of_death(self) -> str:
        # Its end of the pipe is closed before the system calls it dead.
        _, status = os.waitpid(self._process, 0)
        self._process = 0
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}; standard error may say more"

    def _end(self, grace: float) -> None:
        """Makes sure that the process has ended, as far as the system can end it."""
        self._reports.close()
        if not self._is_gone(grace):
            os.kill(self._process, signal.SIGKILL)
            # One that waits for a file system which hangs ends when that answers, not before.
            self._is_gone(_LAST_WORDS)

    def _is_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._process and os.waitpid(self._process, os.WNOHANG)[0] == 0:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        self._process = 0
        return True


def _work(
    stages: Sequence[Stage], known: Mapping[str, Outcome], reports: Connection, parent: int
) -> NoReturn:
    """Runs the stages in the child, and ends it."""
    code = 1
    try:
        _become_child(parent)
        outcomes = dict(known)
        for stage in stages:
            outcome = outcomes[stage.name] = _outcome(stage, outcomes)
            reports.send(outcome)
        code = 0
    finally:
        # No exit handlers: those of a broken library may wait for ever.
        os._exit(code)


def _become_child(parent: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    # Standard output is reserved for the report.
    os.dup2(2, 1)


def _outcome(stage: Stage, outcomes: Mapping[str, Outcome]) -> Outcome:
    for name in stage.needs:
        lacking = outcomes[name]
        if lacking.problem:
            first = f"not reached, because this failed: {name}"
            return Outcome(problem=first if lacking.reached else lacking.problem, reached=False)
    begun = time.perf_counter()
    facts, problem = None, ""
    try:
        facts = stage.run(outcomes)
    except (HvcodError, OSError) as error:
        problem = reason_of(error)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".strip()
    return Outcome(facts, " ".join(problem.split()), time.perf_counter() - begun)
