"""A watchdog that ends the launch if a rank falls silent, so that no rank waits for ever.

MPI over TCP notices a dead link only when the system gives up sending, after a quarter of an hour;
Horovod's own stall check runs on the very thread that is stuck.
"""

import os
import threading
import time
from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from hvcod.errors import HvcodError
from hvcod.groups.abort import abort
from hvcod.groups.split import Group

_BEATS = 10
_LONGEST_BEAT = 10.0
_PAUSE_AT_END = 0.01


class Watchdog:
    """Exchanges signs of life with the group root every few seconds, on a thread of its own.

    The root hears all ranks of its group, and they hear the root. A rank that hears nothing for too
    long names the silent rank and ends the launch. Only time in which this process itself runs
    counts, so a job that the scheduler suspends as a whole goes on afterwards.
    """

    def __init__(self, group: Group, limit: float, step: Callable[[], int]) -> None:
        """The longest silence is `limit` seconds; 0 turns the watchdog off. Collective.

        `step` returns the step of this rank, for the message.
        """
        self._index, self._limit, self._step = group.index, limit, step
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if limit and group.size > 1:
            self._comm = group.comm.Dup()
            self._hosts: list[str] = group.comm.allgather(os.uname().nodename)
            others = range(1, group.size) if group.is_root else [0]
            self._silence = dict.fromkeys(others, 0.0)
            self._thread = threading.Thread(target=self._run, name="hvcod-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the watch. Collective: each rank is watched until it calls this."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._comm.Free()

    def _run(self) -> None:
        others = list(self._silence)
        beat = min(self._limit / _BEATS, _LONGEST_BEAT)
        sent: list[MPI.Request] = []
        leaving = False
        # A rank that has said that it is leaving is no longer watched.
        while self._silence or not leaving:
            if not leaving:
                leaving = self._closing.is_set()
                sign = np.array([leaving], dtype=np.int8)
                sent = [request for request in sent if not request.Test()]
                sent += [self._comm.Isend(sign, other) for other in others]
            self._listen()
            pause = _PAUSE_AT_END if leaving else beat
            time.sleep(pause) if leaving else self._closing.wait(pause)
            self._count(pause)
        MPI.Request.Waitall(sent)

    def _listen(self) -> None:
        sign = np.empty(1, dtype=np.int8)
        for other in list(self._silence):
            while other in self._silence and self._comm.Iprobe(other):
                self._comm.Recv(sign, other)
                self._silence[other] = 0.0
                if sign[0]:
                    del self._silence[other]

    def _count(self, seconds: float) -> None:
        for other in self._silence:
            self._silence[other] += seconds
        missed = [other for other, since in self._silence.items() if since > self._limit]
        if missed:
            names = ", ".join(f"{other} (on {self._hosts[other]})" for other in missed)
            message = (
                f"step {self._step()}: nothing heard for {self._limit:g} s from rank {names} of "
                f"group {self._index}: its node or the network to it is down, or its process is "
                "stopped; the same command goes on from the last saved state"
            )
            abort(HvcodError(message))
