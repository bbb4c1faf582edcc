"""The groups of a training script of the user's own."""

from hvcod.groups.abort import abort_on_failure
from hvcod.groups.environment import ready_for_horovod
from hvcod.groups.split import Group, split
from hvcod.groups.world import world


class Groups(Group):
    """Splits all ranks of this launch into groups, and is this rank's own one of them.

    Make it before ``hvd.init(comm=groups.comm)``. From then on an exception that nobody catches, in
    any thread, ends the whole launch with its traceback: no other rank is left waiting.
    """

    def __init__(self, groups: int = 1, *, only: int | None = None) -> None:
        """Collective over ``MPI.COMM_WORLD``.

        Args:
            groups: Groups of the whole run; neighbouring ranks form a group.
            only: This launch is that one group; the other groups are other launches.

        Raises:
            UsageError: The groups do not divide the ranks, or there is no such group.
            HvcodError: This MPI does not fit the launcher, or does not allow threads.
        """
        abort_on_failure()
        super().__init__(**vars(split(world(), groups, only)))
        ready_for_horovod(self.index)
