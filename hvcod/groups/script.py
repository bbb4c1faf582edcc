"""The groups of a user's own training script."""

from hvcod.groups.abort import abort_on_failure
from hvcod.groups.environment import ready_for_horovod
from hvcod.groups.split import Group, split
from hvcod.groups.world import world


class Groups(Group):
    """This rank's group, once all ranks of the launch have been split into groups.

    Create it before ``hvd.init(comm=groups.comm)``. From then on an uncaught exception in any
    thread ends the whole launch with its traceback, so that no other rank waits for ever.
    """

    def __init__(self, groups: int = 1, *, only: int | None = None) -> None:
        """Collective over ``MPI.COMM_WORLD``; for arguments and errors see `split` and `world`."""
        abort_on_failure()
        super().__init__(**vars(split(world(), groups, only)))
        ready_for_horovod(self.index)
