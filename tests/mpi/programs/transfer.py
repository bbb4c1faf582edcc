"""Updates travel through a group of three, one rank of which receives late. Arguments: cases.

Small broadcasts, so that most tensors need several and end in the middle of one.
"""

import hashlib
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import cast
from unittest.mock import patch

import torch
from mpi4py import MPI
from torch import Tensor

from hvcod.codistill.exchanges import transfer
from hvcod.codistill.exchanges.base import Update
from hvcod.codistill.exchanges.transfer import Transfer, broadcast_update
from hvcod.codistill.guard import FAULTS, Agreed
from hvcod.exchange.assemble import Arrival
from hvcod.exchange.poll import Poller
from hvcod.groups import tensors as messages
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.tensorfile.origin import Origin

SENT = [(1, 50), (2, 50), (1, 100), (2, 150), (1, 200)]
LATE_RANK = 2
LATE_CALLS = 20
LATE_SECONDS = 0.2

group = split(world(), 1)
assert group.size == 3
calls = 0


class Shelf:
    """A stand-in for the poller: returns prepared arrivals and notes at which call."""

    def __init__(self, updates: Sequence[tuple[int, int]]) -> None:
        self.waiting = deque(updates)
        self.taken: list[int] = []

    def take(self) -> Arrival | None:
        if not self.waiting:
            return None
        self.taken.append(calls)
        index, step = self.waiting.popleft()
        about = Origin("run-1", "commoncrawl", index, step, step * 8)
        return Arrival(index, step, about, weights(index, step))


def weights(index: int, step: int) -> dict[str, Tensor]:
    """Returns a teacher's tensors, of all kinds; values and shapes depend on group and step."""
    source = torch.Generator().manual_seed(1000 * index + step)
    return {
        "half": torch.randn(37, 10 + index, generator=source).half(),
        "single": torch.randn(513, generator=source),
        "turned": torch.randn(7, 30, generator=source).T,
        "scalar": torch.randn((), generator=source),
        "empty": torch.empty(0, 4),
        "count": torch.tensor(2**40 + step),
        "integers": torch.randint(-(2**62), 2**62, (9,), generator=source),
        "flags": torch.rand(101, generator=source) < 0.5,
    }


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Returns a digest of names, order, types, shapes and every bit."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def late_by_calls(comm: MPI.Intracomm, arrival: Arrival | None) -> Update:
    """Receives only after more training steps: it hangs if training waits for it."""
    awaited = calls + LATE_CALLS
    while calls < awaited:
        time.sleep(0.0005)
    return broadcast_update(comm, arrival)


def late_by_time(comm: MPI.Intracomm, arrival: Arrival | None) -> Update:
    """Receives when the others are waiting in `close` already."""
    time.sleep(LATE_SECONDS)
    return broadcast_update(comm, arrival)


def updates() -> None:
    """All ranks switch to each update at the same call, in the order of their arrival."""
    global calls
    shelf = Shelf(SENT)
    moving = Transfer(group, cast(Poller, shelf) if group.is_root else None)
    switches: list[tuple[int, int, int, str]] = []
    late = late_by_calls if group.rank == LATE_RANK else broadcast_update
    with patch.object(transfer, "broadcast_update", late):
        while len(switches) < len(SENT):
            calls += 1
            if update := moving.step():
                switches.append((calls, update.group, update.step, digest(update.tensors)))
    assert [moving.step() for _ in range(5)] == [None] * 5
    moving.close()
    everyones = group.comm.allgather(switches)
    assert everyones == [switches] * group.size, everyones
    assert [(index, step) for _, index, step, _ in switches] == SENT
    assert [each[3] for each in switches] == [digest(weights(*sent)) for sent in SENT]
    if group.is_root:
        switched = [each[0] for each in switches]
        assert all(b - a > LATE_CALLS for a, b in zip(shelf.taken, switched, strict=True))
        assert shelf.taken == [1, *(call + 1 for call in switched[:-1])]  # one at a time


def faults() -> None:
    """One rank finds a fault; all learn of it at the next call, and from a state in between."""
    agreed, resumed = Agreed([3, 1]), Agreed([1, 3])
    agreed.begin(group)
    steps = {1: 50, 3: 100}
    mine = {3: 2} if group.rank == LATE_RANK else {}
    assert agreed.exchange(mine, steps) == {}
    assert agreed.state_dict() == [0, 100 * len(FAULTS) + 2]
    resumed.load_state_dict(agreed.state_dict())
    resumed.begin(group)
    for each in (agreed, resumed):
        assert each.exchange({}, steps) == {3: FAULTS[2]}
        assert each.exchange(mine, steps) == {}
        assert each.exchange({}, steps | {3: 150}) == {}  # that was about other weights
        each.close()


def ends(calls_after_announcement: int) -> None:
    """Closes a number of calls after an arrival; a transfer under way must not hang."""
    shelf = Shelf(SENT[:1])
    moving = Transfer(group, cast(Poller, shelf) if group.is_root else None)
    late = late_by_time if group.rank == LATE_RANK else broadcast_update
    with patch.object(transfer, "broadcast_update", late):
        for _ in range(1 + calls_after_announcement):
            assert moving.step() is None
        assert not shelf.waiting or not group.is_root
        moving.close()
    assert group.comm.allreduce(1) == group.size  # the group can still talk


with patch.object(messages, "SLICE_BYTES", 100):
    for case in sys.argv[1:]:
        if case == "updates":
            updates()
        elif case == "faults":
            faults()
        else:
            ends(int(case))
print(f"rank {group.rank} ok", flush=True)
