"""Stages that all ranks run together: each method is a stage and is collective over the world.

They run in order in one process; a rank that fails in one never reaches the next.
"""

import os
import warnings
from typing import TYPE_CHECKING, Any

from hvcod.cluster.doctor.facts import Device, Rank, Split, World
from hvcod.cluster.doctor.local import Outcomes, mpi, versions
from hvcod.cluster.doctor.options import DoctorOptions
from hvcod.errors import HvcodError, UsageError
from hvcod.groups.environment import launch_rank, process_age

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

    from hvcod.groups.split import Group

_LEVELS = ("SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE")


class Together:
    """The world and this rank's place in it, once MPI has been started.

    Attributes:
        everyone: All ranks, from `start` on.
        me: This rank in the MPI world, from `start` on.
        group: This rank's group, from `split` on.
    """

    everyone: "Intracomm"
    me: World
    group: "Group"

    def __init__(self, options: DoctorOptions) -> None:
        self._options = options
        self._age = process_age()

    def start(self, outcomes: Outcomes) -> World:
        """Starts MPI, as importing mpi4py does in a training."""
        library = mpi()
        if not library.Is_initialized():
            with warnings.catch_warnings():
                # The check of the launch reports a launcher of another MPI.
                warnings.simplefilter("ignore", RuntimeWarning)
                library.Init_thread(_requested_level(library))
        from hvcod.groups.world import leave_no_shared_memory

        leave_no_shared_memory()
        everyone, level = library.COMM_WORLD, library.Query_thread()
        node = everyone.Split_type(library.COMM_TYPE_SHARED, everyone.rank)
        first = node.bcast(everyone.rank)
        nodes = sorted(set(everyone.allgather(first)))
        name = next(each for each in _LEVELS if getattr(library, f"THREAD_{each}") == level)
        enough = bool(level >= library.THREAD_MULTIPLE)
        place, count = nodes.index(first), len(nodes)
        self.everyone = everyone
        self.me = World(everyone.rank, everyone.size, name, enough, place, count, node.rank)
        return self.me

    def split(self, outcomes: Outcomes) -> Split:
        """Forms the groups, or one group of all ranks if that is impossible."""
        from hvcod.groups.split import split

        problem = ""
        try:
            self.group = split(self.everyone, self._options.groups, self._options.group)
        except UsageError as error:
            problem = str(error)
            self.group = split(self.everyone)
        return Split(self.group.index, self.group.count, self.group.size, problem)

    def device(self, outcomes: Outcomes) -> Device:
        """Chooses the device as training does."""
        if not self.all_agree(not outcomes["horovod"].problem):
            return Device(problem="Horovod does not import on all ranks")
        import torch

        from hvcod.groups.device import choose_device
        from hvcod.groups.horovod import check_device

        try:
            device = choose_device(self.group, "auto")
            check_device(device)
        except HvcodError as error:
            return Device(problem=str(error))
        threads = torch.get_num_threads()
        if device.type == "cpu":
            return Device("cpu", threads=threads)
        about = torch.cuda.get_device_properties(device)
        uuid = str(getattr(about, "uuid", ""))
        return Device("cuda", device.index, uuid, about.name, threads)

    def this_rank(self, outcomes: Outcomes) -> Rank:
        """The facts of this rank so far. Not collective."""
        return Rank(launch_rank(), os.uname().nodename, dict(outcomes), versions(), self._age)

    def ranks(self, outcomes: Outcomes) -> list[Rank] | None:
        """The facts of all ranks so far, on rank 0; None elsewhere."""
        gathered: list[Rank] | None = self.everyone.gather(self.this_rank(outcomes))
        return gathered

    def end(self, outcomes: Outcomes) -> None:
        """Ends MPI: launchers complain about a rank that exits without it."""
        mpi().Finalize()

    def all_agree(self, here: bool) -> bool:
        """Returns True if `here` is true on all ranks."""
        return bool(self.everyone.allreduce(int(here), op=mpi().MIN))


def _requested_level(library: Any) -> int:
    import mpi4py

    environment, rc = os.environ, mpi4py.rc
    threads = environment.get("MPI4PY_RC_THREADS", str(rc.threads)).lower()
    level = environment.get("MPI4PY_RC_THREAD_LEVEL", rc.thread_level)
    requested = level if threads in ("true", "yes", "on", "y", "1") else "single"
    return int(getattr(library, f"THREAD_{requested.upper()}"))
