"""An allreduce in all groups at once, as in training: checks the sum and measures the speed.

Each function is a stage and is collective over the world.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from hvcod.cluster.doctor.facts import Allreduce, GroupSpeed
from hvcod.cluster.doctor.local import Outcomes, mpi
from hvcod.cluster.doctor.world import Together

_WARM_UP, _LARGE, _SMALL = 2, 5, 20


def by_mpi(together: Together, size: int, outcomes: Outcomes) -> Allreduce | None:
    """Sums `size` bytes of host memory with MPI alone."""
    import numpy as np

    def reduce(message: Any) -> Any:
        total = np.empty_like(message)
        together.group.comm.Allreduce(message, total)
        return total

    speed = _timed(together, size, reduce, lambda count, value: np.full(count, value, np.float32))
    return _gathered(together, speed)


def by_horovod(together: Together, size: int, outcomes: Outcomes) -> Allreduce | None:
    """Sums `size` bytes with Horovod, on the device used for training."""
    device, horovod = outcomes["device"].facts, outcomes["horovod"].facts
    if not together.all_agree(not device.problem and bool(horovod and horovod.mpi_built)):
        return Allreduce([], problem="not every rank has a Horovod that can be used")
    import horovod.torch as hvd
    import torch

    from hvcod.groups.horovod import start_horovod

    begun = time.perf_counter()
    place = torch.device(f"cuda:{device.index}" if device.kind == "cuda" else "cpu")
    start_horovod(together.group, place)
    ready = together.everyone.allreduce(time.perf_counter() - begun, op=mpi().MAX)

    def reduce(message: Any) -> Any:
        total = hvd.allreduce(message, op=hvd.Sum, name="doctor")
        if device.kind == "cuda":
            torch.cuda.synchronize()
        return total

    def fill(count: int, value: float) -> Any:
        return torch.full((count,), value, device=place)

    speed = _timed(together, size, reduce, fill)
    hvd.shutdown()
    return _gathered(together, speed, ready)


def _timed(
    together: Together,
    size: int,
    reduce: Callable[[Any], Any],
    fill: Callable[[int, float], Any],
) -> GroupSpeed:
    """Collective over each group. `fill` makes a message of a number of equal values."""
    group = together.group
    # Small whole numbers: their sum is exact in whatever order it is made.
    mine, total = group.rank % 64 + 1, sum(rank % 64 + 1 for rank in range(group.size))
    large, small = fill(size // 4, float(mine)), fill(1, float(mine))
    right = all(bool((reduce(message) == float(total)).all()) for message in (large, small))
    right = bool(group.comm.allreduce(int(right), op=mpi().MIN))
    nodes = len(set(group.comm.allgather(together.me.node)))
    seconds = _median(group.comm, lambda: reduce(large), _LARGE)
    latency = _median(group.comm, lambda: reduce(small), _SMALL)
    speed = (size / seconds, latency) if group.size > 1 else (None, None)
    return GroupSpeed(group.index, group.size, nodes, right, *speed)


def _median(comm: Any, act: Callable[[], object], count: int) -> float:
    for _ in range(_WARM_UP):
        act()
    laps = []
    for _ in range(count):
        comm.Barrier()
        begun = time.perf_counter()
        act()
        laps.append(time.perf_counter() - begun)
    return statistics.median(laps)


def _gathered(together: Together, speed: GroupSpeed, ready: float = 0.0) -> Allreduce | None:
    """The measurements of all group roots, on rank 0; None on the other ranks."""
    speeds = together.everyone.gather(speed if together.group.is_root else None)
    return None if speeds is None else Allreduce([each for each in speeds if each], ready)
