"""Messages between the trainers and the teacher ranks of a group; none of them is waited for.

A trainer tells its teacher ranks where its batches begin, then after each step how far it is. They
answer with a header for each batch and teacher, and behind it the packed predictions, if any.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from mpi4py import MPI
from torch import Tensor

from hvcod.codistill.handover.pairs import AHEAD
from hvcod.exchange.poll import Failure
from hvcod.groups.communicator import SLICE_BYTES

TO_TEACHER, HEADER, BODY = 1, 2, 3
"""Tags of what a trainer sends, of headers, and of packed predictions."""

PAUSE = 0.001
"""Seconds between two looks for messages."""

Bytes = npt.NDArray[np.uint8]


class Verdict(NamedTuple):
    """A teacher whose weights are of no use.

    Attributes:
        step: The group's step at whose end that was agreed upon.
        key: The teacher.
        weights: The step of its weights; None if it is fixed.
    """

    step: int
    key: int
    weights: int | None

    @property
    def effect(self) -> int:
        """The first step whose predictions were made with the verdict in mind."""
        return self.step + AHEAD + 1


@dataclass(frozen=True)
class Start:
    """The beginning of a trainer's work.

    Attributes:
        step: Steps done.
        position: Of the trainer's data, as `TrainingData.state_dict` returns it.
        hidden: {key: hidden state} of its teachers.
        verdicts: Those that may still matter.
    """

    step: int
    position: Mapping[str, Tensor]
    hidden: Mapping[int, Any]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Progress:
    """The steps that a trainer has done, and the verdicts since its last message."""

    step: int
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class End:
    """A trainer needs no more predictions."""


@dataclass(frozen=True)
class Header:
    """A teacher rank's answer to a batch.

    Attributes:
        step: The step whose batch it is.
        key: The teacher.
        weights: The step of its weights; None if it is fixed, or has none.
        state: ``here`` (packed predictions follow), ``late`` (the batch was skipped), ``absent``
            (no weights have come, or they are of no use) or ``not finite``.
        size: Bytes that follow.
        packing: `Packing.to_dict` of them.
        hidden: The teacher's hidden state after the batch, if the training state holds it.
    """

    step: int
    key: int
    weights: int | None
    state: str
    size: int = 0
    packing: Mapping[str, Any] = field(default_factory=dict)
    hidden: Any = None


@dataclass(frozen=True)
class Notice:
    """News of a teacher rank.

    Attributes:
        problems: What failed when it looked for fresher weights, by a short description.
        failed: Why it teaches no more; empty if it does.
        leaving: Whether it is done with everything that others wait for.
    """

    problems: Mapping[str, Failure] = field(default_factory=dict)
    failed: str = ""
    leaving: bool = False


class Outbox:
    """Messages on their way; what they hold is kept until they have left."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self._sent: list[tuple[MPI.Request, Any]] = []

    def send(self, message: Any, rank: int, tag: int, body: Bytes | None = None) -> None:
        """Sends a message, and the bytes that follow it; returns at once."""
        self.left()
        self._sent.append((self._comm.isend(message, rank, tag), None))
        for part in slices(body) if body is not None else ():
            self._sent.append((self._comm.Isend(part, rank, BODY), part))

    def left(self) -> bool:
        """Returns whether all messages have left."""
        self._sent = [(request, kept) for request, kept in self._sent if not request.Test()]
        return not self._sent


def slices(body: Bytes) -> list[Bytes]:
    """Returns bytes in parts that MPI can count."""
    return [body[at : at + SLICE_BYTES] for at in range(0, body.size, SLICE_BYTES)]


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for so many seconds at most, mostly asleep; returns whether the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)
    return True
