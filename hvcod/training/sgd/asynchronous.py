"""Asynchronous SGD: no rank waits for another one's gradient (paper, section 3.2)."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hvcod.config import TrainOptions
from hvcod.errors import GroupFailedError
from hvcod.groups.pace import Pace
from hvcod.groups.split import Group
from hvcod.spans import ALLREDUCE
from hvcod.training.record.means import Means
from hvcod.training.sgd.averages import Averages
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.sgd.shards import Shards
from hvcod.training.sgd.updates import Updates
from hvcod.training.state.keeper import Keeper

log = logging.getLogger("hvcod.training")


class Asynchronous(BaseAlgorithm):
    """Asynchronous SGD: a rank applies its own gradient to the group's weights as they are by then.

    The weights and the optimiser's averages are sharded over the ranks, in windows of one-sided MPI
    (`Shards`). An update is: gradients of this rank's batch, at weights that it fetched after its
    last update; then for each shard, locked alone: read it, apply this rank's gradient by the
    optimiser, write it back. What the rank has read and written are its next weights. Its gradient
    is as stale as updates of others came in between.

    A step of the group is as many updates as it has ranks, whoever makes them (`Pace`); rates go by
    that step.
    """

    asynchronous = True

    def __init__(self, model: nn.Module, group: Group, options: TrainOptions) -> None:
        """All ranks leave with rank 0's weights; see `BaseAlgorithm`. Collective.

        Raises:
            HvcodError: This MPI has no one-sided communication between these ranks.
        """
        assert group.pace is not None
        self.model, self.group = model, group
        if group.size == 1:
            log.info("--sgd async is --sgd sync here: a group of one rank waits for no other")
        self._pace: Pace = group.pace
        self._shards = Shards(group.rank, group.size)
        examples, make = self.examples(group, options), self._shards.optimizers
        self.updates = Updates(model, options, examples, make)
        self._shards.open(self._pace)
        self._staleness = Means("gradient staleness")
        self._made, self._stale = 0, 0.0
        self._stalest = self._longest = 0.0  # since the last line of metrics, and before
        self._skipped, self._waiting = 0, False
        self._begin(0, 0, None)
        _fetch_looked_up(model, self._shards)

    @staticmethod
    def examples(group: Group, options: TrainOptions) -> int:
        """Returns the batch of one rank: an update is made from it alone."""
        return options.batch_size

    def rounds(self) -> Iterator[None]:
        """Yields for each update of a step that this rank makes, while it is its turn."""
        self._done += 1
        while self._pace.has_turn(self._done):
            yield

    def step(self, loss: Tensor) -> bool:
        """Makes one update from this rank's loss; returns False if it was skipped."""
        self.updates.done = self._done - 1
        self.updates.begin()
        self.updates.backward(loss)
        self.updates.complete()
        try:
            usable = self.updates.check()
        except GroupFailedError as error:
            self.group.fail(error)
            usable = False
        if usable:
            with ALLREDUCE:
                staleness = self._shards.push()
            self._note(staleness)
        return usable

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Waits until all ranks have made the same steps; see `BaseAlgorithm`. Collective.

        Raises:
            GroupFailedError: A rank has failed meanwhile; on all ranks.
        """
        self._pace.meet()
        self._skipped = sum(self.group.comm.allgather(self.updates.skipped))
        self._waiting = True
        yield
        self._waiting = False
        self._pace.meet()

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the freshest weights of the group, each shard's of one moment. Not collective.

        Unless all ranks wait, the other ranks return what they have: only the root publishes.
        """
        if self.group.is_root or self._waiting:
            self._shards.fetch()
        return super().weights()

    def register(self, keeper: Keeper) -> None:
        """Also lets states be saved while all ranks wait; see `BaseAlgorithm`."""
        keeper.still = self.still
        super().register(keeper)

    @property
    def skipped(self) -> int:
        """Updates that all ranks had skipped when they last met; on the group root."""
        return self._skipped

    def figures(self) -> dict[str, object]:
        """Returns the learning rate, and the staleness of gradients since the last line.

        It has a mean, which hardly depends on the ranks' paces, and a largest, which shows them.
        """
        # Each number has a name of its own: none are added up.
        mine = {f"{self.group.rank}: {self._made}": self._stalest}
        largest = max(self.group.total("largest gradient staleness", mine).values())
        self._longest, self._stalest = max(self._longest, self._stalest), 0.0
        mean = self._staleness.take(self.group)
        return super().figures() | mean | {"largest_gradient_staleness": largest}

    def summary(self) -> dict[str, object]:
        """Returns the updates of each rank in this launch, and how stale they were. Collective."""
        largest = max(self._longest, self._stalest)
        ranks = self.group.comm.allgather((self._made, self._stale, largest))
        made, stale, stalest = zip(*ranks, strict=True)
        return super().summary() | {
            "updates": list(made),
            "gradient_staleness": sum(stale) / max(1, sum(made)),
            "largest_gradient_staleness": max(stalest),
        }

    def common_weights(self) -> str:
        """Returns the SHA-256 of the group's weights; see `BaseAlgorithm`. Collective."""
        with self.still():
            self._shards.fetch()
            return super().common_weights()

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters and, on the group root, the optimiser's averages of all shards."""
        updates, averages = self._shards.collect() if self.group.is_root else (0, {})
        counters = {**self.updates.counters, "done": self._done, "skipped": self._skipped}
        return {"counters": counters, "updates": updates, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned, with the model's weights. Collective."""
        counters = state["counters"]
        self._skipped = counters["skipped"]
        # The sum of all ranks: it counts once.
        mine = {} if self.group.is_root else {"skipped": 0, "in_a_row": 0}
        self.updates.counters = {**counters, **mine}
        self._begin(state["counters"]["done"], state["updates"], state["averages"])

    def _begin(self, done: int, updates: int, averages: Averages | None) -> None:
        """Goes on after so many steps and updates, with the root's weights. Collective."""
        self._done = done
        if self.group.is_root:
            self._shards.take_over(updates, averages)
        self._pace.begin(done)
        self._shards.fetch()

    def _note(self, staleness: Sequence[int]) -> None:
        mean = sum(staleness) / len(staleness)
        self._staleness.add(gradient_staleness=mean)
        self._made, self._stale = self._made + 1, self._stale + mean
        self._stalest = max(self._stalest, mean)


def _fetch_looked_up(model: nn.Module, shards: Shards) -> None:
    """Lets a model fetch the rows of its embedding tables before they are looked up in training.

    A copy of the model that is a teacher has other parameters, and is left alone.
    """

    def fetch(table: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if table.training:
            shards.fetch_rows(table.get_parameter("weight"), inputs[0])

    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.sparse:
            module.register_forward_pre_hook(fetch)
