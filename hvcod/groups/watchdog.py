"""A watchdog that ends the launch if a rank falls silent, so that no rank waits for ever.

MPI over TCP notices a dead link only when the system gives up sending, after a quarter of an hour;
Horovod's own stall check runs on the very thread that is stuck.

A scheduler may suspend a job on one of its nodes only (OpenPBS does). The kernel of that node still
accepts connections for processes that are stopped, so a node that is suspended can be told from one
that is dead.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hvcod.errors import HvcodError, RankKilledError, RankLostError
from hvcod.groups.abort import abort, before_abort
from hvcod.groups.communicator import of_mpi
from hvcod.groups.lifeline import Door, Lifelines, accepts

if TYPE_CHECKING:
    from mpi4py.MPI import Request

    from hvcod.groups.split import Group

_BEATS = 10
_LONGEST_BEAT = 10.0
_PAUSE_AT_END = 0.01
_LOOK = 1.0
_GRACE = 3.0

log = logging.getLogger("hvcod.groups")


class Watchdog:
    """Exchanges signs of life with the group root every few seconds, on a thread of its own.

    The root hears all ranks of its group, and they hear the root. A rank that hears nothing for too
    long names the silent rank and ends the launch with 75; and with 137, within seconds, if the
    other's process is gone (`Lifelines`). Only time in which this process itself runs counts, so a
    job that the scheduler suspends as a whole goes on afterwards. A job that is suspended on some
    of its nodes goes on, too: see `_are_suspended`.
    """

    def __init__(
        self, group: "Group", limit: float, step: Callable[[], int], together: bool = False
    ) -> None:
        """Collective over the group.

        Args:
            limit: The longest silence in seconds; 0 turns the watchdog off.
            step: Returns the step that this rank has begun.
            together: Also ends the launch if the ranks are at different steps, and for `limit`
                seconds none begins another one: then they wait for each other for ever.
        """
        self._index, self._limit, self._step = group.index, limit, step
        self._together = together and group.is_root
        self._steps, self._standing = [0] * group.size, 0.0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if limit and group.size > 1:
            self._comm = of_mpi(group.comm).Dup()
            self._door = Door(most=group.size)
            before_abort(self._door.say_farewell)
            place = (os.uname().nodename, self._door.port)
            self._places: list[tuple[str, int]] = group.comm.allgather(place)
            others = range(1, group.size) if group.is_root else [0]
            self._counts = group.is_root or self._is_first_on_its_node(group.rank)
            self._silence = dict.fromkeys(others, 0.0)
            self._thread = threading.Thread(target=self._run, name="hvcod-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the watch. Collective: each rank is watched until it calls this."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._door.close()
            self._comm.Free()

    def _run(self) -> None:
        others = list(self._silence)
        lines = Lifelines({rank: self._places[rank] for rank in others if self._counts})
        beat = min(self._limit / _BEATS, _LONGEST_BEAT)
        sent: list[Request] = []
        leaving = False
        # A rank that has said that it is leaving is no longer watched.
        while self._silence or not leaving:
            if not leaving:
                leaving = self._closing.is_set()
                sign = np.array([leaving, self._step()])
                sent = [request for request in sent if not request.Test()]
                sent += [self._comm.Isend(sign, other) for other in others]
            self._listen()
            pause = _PAUSE_AT_END if leaving else beat
            self._pause(pause, lines) if leaving else self._rest(pause, lines)
            self._count(pause)
            if self._together:
                self._compare(pause)
        for request in sent:
            request.Wait()
        lines.close()

    def _rest(self, seconds: float, lines: Lifelines) -> None:
        """Waits for the next beat, or the end; ends the launch if a process has died meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._closing.wait(min(left, _LOOK)):
            self._pause(0, lines)

    def _pause(self, seconds: float, lines: Lifelines) -> None:
        """Waits, and ends the launch if a process has died."""
        time.sleep(seconds)
        for rank in lines.dead():
            self._mourn(rank)

    def _mourn(self, rank: int) -> None:
        """Ends the launch for a rank whose process is gone, unless it had said that it leaves."""
        end = time.monotonic() + _GRACE
        while rank in self._silence and time.monotonic() < end:
            # If it failed with an error of its own, that one ends the launch first.
            time.sleep(_PAUSE_AT_END)
            self._listen()
        if rank in self._silence:
            node, _ = self._places[rank]
            abort(
                RankKilledError(
                    f"step {self._step()}: rank {rank} (on {node}) of group {self._index} has "
                    "died; the same command goes on from the last saved state"
                )
            )

    def _listen(self) -> None:
        self._door.clear()
        sign = np.empty(2, dtype=int)
        for other in list(self._silence):
            while other in self._silence and self._comm.Iprobe(other):
                self._comm.Recv(sign, other)
                self._silence[other] = 0.0
                self._note_step(other, int(sign[1]))
                if sign[0]:
                    del self._silence[other]

    def _note_step(self, rank: int, step: int) -> None:
        if self._steps[rank] != step:
            self._steps[rank], self._standing = step, 0.0

    def _compare(self, seconds: float) -> None:
        """Ends the launch if its ranks are stuck at different steps. Runs on the root."""
        self._note_step(self._comm.rank, self._step())
        late = min(self._steps)
        # Ranks that are not heard may have begun other steps meanwhile.
        heard = all(since < self._limit / 2 for since in self._silence.values())
        self._standing += seconds
        if late == max(self._steps) or not heard:
            self._standing = 0.0
        if self._standing > self._limit:
            ranks = ", ".join(str(rank) for rank, step in enumerate(self._steps) if step == late)
            abort(
                HvcodError(
                    f"rank {ranks} of group {self._index} has called Codistiller.step() {late} "
                    f"times, another rank {max(self._steps)} times, and none has called it again "
                    f"for {self._limit:g} s: every rank of a group calls it after each update. If "
                    "one rank works for that long while others wait, make Groups with a higher "
                    "silence_limit"
                )
            )

    def _is_first_on_its_node(self, rank: int) -> bool:
        """Returns whether this rank watches the root for all of its node, where the root may be."""
        nodes = [node for node, _ in self._places]
        return nodes[rank] not in nodes[1:rank]

    def _count(self, seconds: float) -> None:
        if not self._counts:
            return
        for other in self._silence:
            self._silence[other] += seconds
        missed = [other for other, since in self._silence.items() if since > self._limit]
        if not missed:
            return
        names = ", ".join(f"{other} (on {self._places[other][0]})" for other in missed)
        silent = (
            f"step {self._step()}: nothing heard for {self._limit:g} s from rank {names} of "
            f"group {self._index}: "
        )
        if not self._are_suspended(missed):
            abort(
                RankLostError(
                    f"{silent}its node or the network to it is down, or its process is stopped; "
                    "the same command goes on from the last saved state"
                )
            )
        # Only errors are shown of ranks that are not their group's root.
        log.error("%sits node answers, so the job is suspended there; waiting", silent)
        self._silence |= dict.fromkeys(missed, 0.0)

    def _are_suspended(self, missed: Sequence[int]) -> bool:
        """Returns whether the launch is suspended on the nodes of all silent ranks.

        None of its ranks runs there, but connections to the silent ones are accepted.
        """
        # Not all fall silent in the same beat.
        heard = [rank for rank, since in self._silence.items() if since < self._limit / 2]
        running = {self._places[rank][0] for rank in [*heard, self._comm.rank]}
        places = [self._places[rank] for rank in missed]
        return all(node not in running and accepts((node, port)) for node, port in places)
