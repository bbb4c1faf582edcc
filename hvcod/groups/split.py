"""The split of the world into groups (paper, section 2.1: independent groups of workers)."""

import atexit
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hvcod.errors import GroupFailedError, UsageError
from hvcod.groups import abort
from hvcod.groups.agreement import Agreement
from hvcod.groups.communicator import Alone, Communicator, add_up
from hvcod.groups.environment import ready_for_horovod
from hvcod.groups.pace import Notices, Pace
from hvcod.groups.watchdog import Watchdog
from hvcod.groups.world import NodeShare, mpi_world, node_share
from hvcod.spans import AGREEMENT
from hvcod.units import counted


@dataclass(frozen=True)
class Group:
    """The ranks that train one copy of the model together, as one of them sees it.

    A group may also have ranks that only teach: the last ones of its part of the launch. They and
    the trainers have a communicator each, by which ranks of one role never wait for the other's.

    Attributes:
        index: The number of this group, from 0.
        count: The number of groups of the run, those of other launches included.
        rank: The number of this rank among those of its role; trainer 0 is the group root.
        size: Ranks of this role in the group.
        comm: Their communicator, for hvcod's own messages and for ``hvd.init(comm=...)``.
        node_rank: The number of this rank among those of its launch on the same node; it decides
            the device. (Horovod's ``local_rank`` restarts in every group, and groups may share a
            node.)
        threads: Computing threads of this rank; see `hvcod.groups.world.threads_per_rank`.
        team: The ranks of all groups of the run in this launch; None for those of this group.
        role: ``trainer``, or ``teacher`` for a rank that only computes predictions of teachers.
        whole: The communicator of both roles, trainers first; None if there are only trainers.
        shelf: What the groups of one process hand to each other, by group; None if each has
            processes of its own.
        pace: Shared by ranks that go at paces of their own; None if they make each step together.
    """

    index: int
    count: int
    rank: int
    size: int
    comm: Communicator
    node_rank: int
    threads: int
    team: Communicator | None = None
    role: str = "trainer"
    whole: Communicator | None = None
    shelf: dict[int, Any] | None = None
    pace: Pace | None = None

    @property
    def everyone(self) -> Communicator:
        """The communicator of the team: of the ranks that train, or evaluate, together."""
        return self.comm if self.team is None else self.team

    @property
    def is_root(self) -> bool:
        """True on trainer 0, the only rank of the group that publishes and logs."""
        return self.rank == 0 and self.role == "trainer"

    @property
    def polls(self) -> bool:
        """True on the only rank of the group that looks for the weights of its teachers."""
        return self.rank == 0 and (self.role == "teacher" or self.whole is None)

    @property
    def trainers(self) -> int:
        """Ranks of the group that train; they are its first ones."""
        return self.size if self.role == "trainer" else self._others

    @property
    def teacher_ranks(self) -> int:
        """Ranks of the group that only teach; they are its last ones."""
        return self._others if self.role == "trainer" else self.size

    @property
    def _others(self) -> int:
        return 0 if self.whole is None else self.whole.size - self.size

    @property
    def training_comm(self) -> Communicator:
        """The communicator of the group's trainers, on a trainer."""
        return self.comm

    @property
    def shards(self) -> int:
        """Parts of the training data: one for each trainer of all groups, other launches too."""
        return self.count * self.trainers

    @property
    def shard(self) -> int:
        """The number of this rank's part among the `shards`, if each group has data of its own."""
        return self.index * self.trainers + self.rank

    def begin_step(self) -> None:
        """Notes that this rank begins a call of `Codistiller.step`; `Groups` watches for it."""

    def agreement(self, first: Sequence[int]) -> Agreement | Notices:
        """Returns something that tells all ranks the largest of their numbers. Collective.

        At the same step, and one step late; or as soon as each learns of it, if the ranks go at
        paces of their own.
        """
        return self.pace.notices(first) if self.pace else Agreement(self.comm, first)

    def total(self, subject: str, numbers: Mapping[str, float]) -> dict[str, float]:
        """Returns the sums of some numbers over the group; what its root gets counts.

        Collective, with the same names on all ranks; if they go at paces of their own it is
        neither, see `Pace.total`. `subject` tells these numbers from others.
        """
        if self.pace is not None:
            return self.pace.total(subject, numbers)
        sums = np.array(list(numbers.values()))
        with AGREEMENT:
            add_up(self.comm, sums)
        return dict(zip(numbers, sums.tolist(), strict=True))

    def fail(self, error: GroupFailedError) -> None:
        """Ends the group for an error that its root has found, and the other ranks, too.

        Of ranks that go at paces of their own, one may find it alone, and all end a little later.

        Raises:
            GroupFailedError: The error.
        """
        if self.pace is None:
            raise error
        self.pace.fail(error)

    def seat(self, trainer: int) -> "Group":
        """Returns the group as one of its trainers sees it, without anybody to talk to.

        A rank that teaches reads the data of a trainer with it.
        """
        alone = Alone()
        return replace(
            self,
            rank=trainer,
            size=self.trainers,
            comm=alone,
            team=alone,
            role="trainer",
            whole=None,
        )

    def seed(self, run_seed: int, *more: int) -> int:
        """Returns a seed of this group: copies that start alike have nothing to teach each other.

        It depends on the seed of the run and on `more` numbers, such as a rank.
        """
        words = np.random.SeedSequence([run_seed, self.index, *more]).generate_state(2)
        return int(words[0]) << 31 | int(words[1]) >> 1


def split(
    world: Communicator,
    groups: int = 1,
    only: int | None = None,
    share: NodeShare | None = None,
    teacher_ranks: int = 0,
) -> Group:
    """Splits the world into equal groups of neighbouring ranks; returns this rank's group.

    Collective over the world: all ranks of this launch, or those of them that train together.

    Args:
        groups: Number of groups of the whole run.
        only: The index of the only group that this launch trains; others are other launches.
        share: This rank's share of its node, if the launch has more ranks than `world`.
        teacher_ranks: Ranks of each group, its last ones, that only teach.

    Raises:
        UsageError: The groups do not divide the world, there is no such group, or no rank of a
            group is left to train.
    """
    if only is not None and not 0 <= only < groups:
        raise UsageError(f"there is no group {only}: the {groups} groups are 0 to {groups - 1}")
    if groups < 1:
        raise UsageError(f"{groups} groups: there must be at least one")
    here = 1 if only is not None else groups
    if world.size % here:
        raise UsageError(_does_not_divide(world.size, groups))
    size = world.size // here
    trainers = trainers_among(size, teacher_ranks)
    index = world.rank // size if only is None else only
    whole = world.Split(index, world.rank)
    share = share or node_share(world)
    return _with_role(whole, index, groups, share, trainers, world)


def in_one_process(groups: int, share: NodeShare) -> list[Group]:
    """Returns all groups of a run, which one process trains in turn, without MPI.

    Each computes with as many threads as if it were one of so many ranks on the node, which decides
    the last bit of sums.
    """
    comm, shelf = Alone(), dict[int, Any]()
    place = share.node_rank, max(1, share.threads // groups)
    return [Group(index, groups, 0, 1, comm, *place, shelf=shelf) for index in range(groups)]


def alone() -> Group:
    """Returns a group of this process alone, for work beside any training; without MPI."""
    return in_one_process(1, NodeShare(0, 1))[0]


def _with_role(
    whole: Communicator,
    index: int,
    count: int,
    share: NodeShare,
    trainers: int,
    world: Communicator,
) -> Group:
    place = share.node_rank, share.threads
    if trainers == whole.size:
        abort.set_position(f"group {index}, rank {whole.rank} of {whole.size}")
        return Group(index, count, whole.rank, whole.size, whole, *place, team=world)
    role = "trainer" if whole.rank < trainers else "teacher"
    comm = whole.Split(role == "teacher", whole.rank)
    abort.set_position(f"group {index}, {role} {comm.rank} of {comm.size}")
    return Group(index, count, comm.rank, comm.size, comm, *place, world, role, whole)


class Groups(Group):
    """This rank's group, once all ranks of the launch have been split into groups.

    Create it before ``hvd.init(comm=groups.comm)``. From then on an uncaught exception in any
    thread ends the whole launch with its traceback, so that no other rank waits for ever. So do a
    rank that falls silent, and ranks that are stuck at different calls of `Codistiller.step`: see
    `hvcod.groups.watchdog`.
    """

    def __init__(
        self, groups: int = 1, *, only: int | None = None, silence_limit: float = 300
    ) -> None:
        """Collective over ``MPI.COMM_WORLD``.

        Args:
            groups: Number of groups of the whole run; they have equal sizes.
            only: The index of the only group that this launch trains; others are other launches.
            silence_limit: Seconds until a rank that is silent, or does not call
                `Codistiller.step` as often as the others, ends the launch; 0: never.

        Raises:
            UsageError: The groups do not divide the ranks, or there is no such group.
            HvcodError: MPI cannot be used here.
        """
        abort.abort_on_failure()
        super().__init__(**vars(split(mpi_world(), groups, only)))
        ready_for_horovod(self.index)
        self._step = 0
        watchdog = Watchdog(self, silence_limit, lambda: self._step, together=True)
        # Collective, as the end of MPI is: both wait for ranks whose scripts go on.
        atexit.register(watchdog.close)

    def begin_step(self) -> None:
        """Notes that this rank begins a call of `Codistiller.step`."""
        self._step += 1


def _does_not_divide(size: int, groups: int) -> str:
    divisors = [str(n) for n in range(1, size + 1) if size % n == 0]
    nearest = sorted({max(1, size // groups) * groups, (size // groups + 1) * groups})
    return (
        f"{groups} groups cannot share {size} ranks: use {' or '.join(map(str, nearest))} ranks, "
        f"or with {size} ranks as many groups as {', '.join(divisors)}"
    )


def trainers_among(ranks: int, teacher_ranks: int) -> int:
    """Returns how many ranks of a group train; raises UsageError if none is left to."""
    if ranks <= teacher_ranks:
        raise UsageError(
            f"--teacher-ranks {teacher_ranks}: a group of {counted(ranks, 'rank')} has none left "
            f"to train; start at least {teacher_ranks + 1} ranks for each group"
        )
    return ranks - teacher_ranks
