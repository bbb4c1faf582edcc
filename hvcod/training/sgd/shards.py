"""The weights of a group and its optimiser's averages, sharded over the ranks' windows."""

from torch import Tensor, nn

from hvcod.config import OptimizerOptions
from hvcod.groups.pace import Pace
from hvcod.training.sgd.averages import Averages
from hvcod.training.sgd.rows import Tables
from hvcod.training.sgd.shard import DenseShard, cut
from hvcod.training.sgd.updates import Optimizers, Parameters


class Shards:
    """Fetches the weights of a group and pushes gradients to them, one shard after the other.

    Each rank owns a shard, in a window that all ranks lock, read and write. Whoever pushes applies
    the optimiser itself while it alone has the shard: owners do nothing for the others.
    """

    def __init__(self, rank: int, ranks: int) -> None:
        """`optimizers` and `open` are to follow."""
        # Each rank begins elsewhere, so that they do not queue.
        self._owners = [(rank + each) % ranks for each in range(ranks)]
        self._known = [0] * ranks

    def optimizers(
        self, dense: Parameters, tables: Parameters, options: OptimizerOptions
    ) -> Optimizers:
        """Returns the optimisers of all shards by name.

        Raises:
            UsageError: The optimiser cannot update a table by rows.
        """
        for parameter in [*dense.values(), *tables.values()]:
            parameter.data = parameter.data.contiguous()
        ranks = len(self._owners)
        self._dense = [DenseShard(pieces, options) for pieces in cut(dense, ranks)]
        largest = max(shard.image.size for shard in self._dense)
        self._tables = Tables(tables, ranks, largest, options)
        named = {f"dense {owner}": shard.optimizer for owner, shard in enumerate(self._dense)}
        named["sparse"] = self._tables.optimizer
        return {name: optimizer for name, optimizer in named.items() if optimizer}

    def open(self, pace: Pace) -> None:
        """Makes the windows. Collective.

        Raises:
            HvcodError: This MPI has no one-sided communication between these ranks.
        """
        self._window = pace.window(self._tables.end)

    def push(self) -> list[int]:
        """Applies the gradients of the model's parameters, and fetches the weights so far.

        Returns:
            How stale the gradients were, by shard: the updates that others made to it since this
            rank fetched or pushed it last.
        """
        staleness = [0] * len(self._owners)
        for owner in self._owners:
            shard = self._dense[owner]
            with self._window.locked(owner):
                self._window.get(owner, 0, shard.image)
                staleness[owner] = shard.updates - self._known[owner]
                self._tables.update(self._window, owner, shard.updates)
                shard.update()
                self._window.put(owner, 0, shard.image)
            self._known[owner] = shard.updates
            shard.hand_out()
        return staleness

    def fetch(self) -> None:
        """Reads the weights of all shards into the model, each as it is at one moment."""
        for owner in self._owners:
            shard = self._dense[owner]
            with self._window.locked(owner, shared=True):
                self._window.get(owner, 0, shard.weights)
                self._tables.fetch(self._window, owner)
            self._known[owner] = shard.updates
            shard.hand_out()

    def fetch_rows(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """Reads some rows of an embedding table into the model; nothing if it is not one here."""
        if (table := self._tables.of(parameter)) is None:
            return
        wanted = rows.detach().cpu().unique()
        for owner in self._owners:
            if len(mine := wanted[table.owned(wanted, owner)]):
                with self._window.locked(owner, shared=True):
                    table.fetch(self._window, owner, mine)

    def take_over(self, updates: int, averages: Averages | None) -> None:
        """Writes the model's weights to all shards, with averages or, at first, new ones."""
        for owner in self._owners:
            shard = self._dense[owner]
            shard.take_over(updates, averages)
            with self._window.locked(owner):
                self._window.put(owner, 0, shard.image)
                self._tables.take_over(self._window, owner, averages)

    def collect(self) -> tuple[int, Averages]:
        """Returns the updates that were made, and the averages of all parameters."""
        averages: Averages = {}
        for owner in self._owners:
            shard = self._dense[owner]
            with self._window.locked(owner, shared=True):
                self._window.get(owner, 0, shard.image)
                self._tables.collect(self._window, owner, averages)
            shard.collect(averages)
        return self._dense[0].updates, averages
