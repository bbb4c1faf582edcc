"""The transfer of fresh teacher weights from the group root to every rank of its group.

The root announces an update by its number. One step later all ranks know and start to receive it in
the background. Once all have received it, they learn so at the same step, and switch there. Ranks
that go at paces of their own begin when they see the announcement, and each switches when it has
received the update.
"""

import threading

from hvcod.codistill.exchanges.base import Update
from hvcod.exchange.assemble import Arrival
from hvcod.exchange.poll import Poller
from hvcod.groups.communicator import Communicator
from hvcod.groups.split import Group
from hvcod.groups.tensors import broadcast_tensors


class Transfer:
    """Moves updates through a group, one at a time, off the training thread."""

    def __init__(self, group: Group, poller: Poller | None) -> None:
        """Collective over the group; the poller is on the group root only."""
        self._group, self._comm = group, group.comm.Dup()
        self._agreement = group.agreement([0, 0])
        self._poller = poller
        self._announced = self._started = self._switched = 0
        self._arrival: Arrival | None = None
        self._update: Update | None = None
        self._thread: threading.Thread | None = None

    def step(self) -> Update | None:
        """Advances by one training step; returns the update to switch to now, if there is one.

        Collective: every rank calls it once a step and gets the same answer, if all go at one pace.
        """
        self._announce()
        received = self._switched + (self._update is not None)
        announced, missing = self._agreement.exchange([self._announced, -received])
        if announced > self._started == self._switched:
            self._start()
        everywhere = -missing if self._group.pace is None else received
        if everywhere <= self._switched:
            return None
        update, self._update = self._update, None
        self._switched += 1
        return update

    def close(self) -> None:
        """Completes the transfer that is under way. Collective."""
        self._agreement.close()
        # A rank that goes at its own pace may not have seen what the root has begun to send.
        begun = self._group.comm.bcast(self._started)
        while self._started < begun:
            self._join()
            self._start()
        self._join()
        self._comm.Free()

    def _start(self) -> None:
        self._started += 1
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _announce(self) -> None:
        idle = self._announced == self._switched
        if self._poller is not None and idle and (arrival := self._poller.take()):
            self._arrival = arrival
            self._announced += 1

    def _receive(self) -> None:
        arrival, self._arrival = self._arrival, None
        self._update = broadcast_update(self._comm, arrival)


def broadcast_update(comm: Communicator, arrival: Arrival | None) -> Update:
    """Sends an arrival of rank 0 to all ranks. Collective; it is ``None`` on the other ranks."""
    about = None
    if arrival is not None:
        origin = arrival.origin
        about = (arrival.group, arrival.step, origin.model, origin.created, arrival.base)
    group, step, *more = comm.bcast(about)
    tensors = broadcast_tensors(comm, arrival.tensors if arrival else None)
    return Update(group, step, tensors, *more)
