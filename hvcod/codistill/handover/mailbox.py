"""The predictions that have arrived at a trainer."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI

from hvcod.codistill.handover.messages import (
    BODY,
    HEADER,
    PAUSE,
    TO_TEACHER,
    Bytes,
    End,
    Header,
    Notice,
    Outbox,
    Progress,
    Start,
    Verdict,
    slices,
    wait_for,
)
from hvcod.exchange.poll import Failure

PATIENCE = 20.0
"""Seconds that a trainer waits at the end for its teacher ranks to leave."""

_LONGEST_PAUSE = 0.02
_SHARE_OF_STEP = 0.1

_UNANSWERED, _NOW_AND_THEN = 200, 50
"""After so many messages without any answer only each fiftieth is sent: somebody may be stopped,
and MPI keeps what he does not receive."""


@dataclass(frozen=True)
class Answer:
    """A header that has come, and the packed predictions behind it."""

    header: Header
    body: Bytes | None


@dataclass
class _Coming:
    header: Header
    body: Bytes
    requests: list[MPI.Request] = field(default_factory=list)


class Mailbox:
    """Receives the answers of this trainer's teacher ranks, on a thread of its own.

    No call waits for a teacher rank but `close`.

    Attributes:
        failed: Why a teacher rank teaches no more; empty if all do.
        problems: What failed when they looked for fresher weights.
    """

    def __init__(self, comm: MPI.Intracomm, servers: Mapping[int, int]) -> None:
        """`servers` has the rank in `comm` that answers for each teacher, by the teacher's key."""
        self._comm, self._ranks = comm, sorted(set(servers.values()))
        self._outbox = Outbox(comm)
        self._answers: dict[tuple[int, int], Answer] = {}
        self._coming: list[_Coming] = []
        self._left: set[int] = set()
        self._done, self._pause, self._told = 0, PAUSE, time.monotonic()
        self._unanswered = 0
        self._verdicts: list[Verdict] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hvcod-mailbox", daemon=True)
        self.failed = ""
        self.problems: dict[str, Failure] = {}
        self._thread.start()

    def begin(self, start: Start) -> None:
        """Tells the teacher ranks where this trainer begins."""
        self._done = start.step
        for rank in self._ranks:
            self._outbox.send(start, rank, TO_TEACHER)

    def tell(self, step: int, verdicts: tuple[Verdict, ...]) -> None:
        """Tells the teacher ranks that a step is done; earlier answers are of no use any more."""
        now = time.monotonic()
        with self._lock:
            self._done = step
            self._answers = {key: one for key, one in self._answers.items() if key[0] > step}
            self._pause = min(max(PAUSE, _SHARE_OF_STEP * (now - self._told)), _LONGEST_PAUSE)
        self._told = now
        self._verdicts += verdicts
        self._unanswered += 1
        if self._unanswered > _UNANSWERED and self._unanswered % _NOW_AND_THEN:
            return
        for rank in self._ranks:
            self._outbox.send(Progress(step, tuple(self._verdicts)), rank, TO_TEACHER)
        self._verdicts.clear()

    def get(self, step: int, key: int) -> Answer | None:
        """Returns a teacher's answer to the batch of a step, if it has come."""
        with self._lock:
            return self._answers.get((step, key))

    def ahead(self) -> int:
        """Returns the number of coming steps for which there is an answer of every teacher."""
        with self._lock:
            steps = [step for step, _ in self._answers]
        return len(set(steps))

    def close(self) -> list[int]:
        """Ends the work of the teacher ranks; returns those that do not answer."""
        for rank in self._ranks:
            self._outbox.send(End(), rank, TO_TEACHER)
        wait_for(lambda: self._left.issuperset(self._ranks), PATIENCE)
        self._closing.set()
        self._thread.join()
        self._outbox.left()
        return [rank for rank in self._ranks if rank not in self._left]

    def _run(self) -> None:
        while not self._closing.wait(PAUSE if self._coming else self._pause):
            for rank in self._ranks:
                self._listen(rank)
            self._complete()

    def _listen(self, rank: int) -> None:
        while (found := self._comm.improbe(rank, HEADER)) is not None:
            message = found.recv()
            self._unanswered = 0
            if isinstance(message, Notice):
                self._note(message, rank)
            elif message.size:
                self._receive(message, rank)
            else:
                self._put(Answer(message, None))

    def _receive(self, header: Header, rank: int) -> None:
        body = np.empty(header.size, np.uint8)
        # In the order of the headers, so that each gets its own.
        requests = [self._comm.Irecv(part, rank, BODY) for part in slices(body)]
        self._coming.append(_Coming(header, body, requests))

    def _complete(self) -> None:
        for one in self._coming:
            one.requests = [request for request in one.requests if not request.Test()]
            if not one.requests:
                self._put(Answer(one.header, one.body))
        self._coming = [one for one in self._coming if one.requests]

    def _put(self, answer: Answer) -> None:
        header = answer.header
        with self._lock:
            if header.step > self._done:
                self._answers[header.step, header.key] = answer

    def _note(self, notice: Notice, rank: int) -> None:
        self.problems |= notice.problems
        self.failed = self.failed or notice.failed
        if notice.leaving:
            self._left.add(rank)
