"""Local SGD: each rank trains by itself, and the weights are averaged now and then.

With an outer step on the averaged difference it is DiLoCo (Douillard et al., arXiv 2311.08105).
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hvcod.config import TrainOptions
from hvcod.errors import DivergedError, GroupFailedError, HvcodError, UsageError
from hvcod.groups.split import Group
from hvcod.spans import ALLREDUCE
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.sgd.outer import Outer
from hvcod.training.state.keeper import Keeper

log = logging.getLogger("hvcod.training")

LARGEST_TENSOR = 2**31 - 1
"""Bytes of a parameter that MPI gathers from each rank for a training state."""


class LocalSGD(BaseAlgorithm):
    """Each rank makes updates of its own; every `sync_interval` steps all take the mean weights.

    A *synchronisation* also ends the run. The optimiser's averages stay each rank's own, and so do
    buffers, as in synchronous SGD. Between two synchronisations the group's model is the mean of
    the ranks' weights at that moment, which is made to be published, validated or saved, and which
    no rank goes on from.
    """

    def __init__(self, model: nn.Module, group: Group, options: TrainOptions) -> None:
        """All ranks leave with rank 0's weights; see `BaseAlgorithm`. Collective."""
        super().__init__(model, group, options)
        self._interval, self._steps = options.local.sync_interval, options.steps
        self._skips = options.nonfinite == "skip"
        self._failed_at, self._skipped, self._common = 0, 0, True
        self._averaging = None
        if group.trainers > 1:
            _check_sizes(model)
            from hvcod.training.sgd.averaging import Averaging

            self._averaging = Averaging(model, group)
        self._trained = [each for each in model.parameters() if each.requires_grad]
        tables = {id(table) for table in self.updates.tables.values()}
        # Of each table the rows that this rank has changed since the last synchronisation.
        self._touched = [
            each.new_zeros(len(each), dtype=torch.uint8) if id(each) in tables else None
            for each in self._trained
        ]
        self._outer = Outer(self._trained, options.local)
        if group.trainers == 1 and self._outer.is_mean:
            log.info("--sgd local is --sgd sync here: a group of one rank has no others to average")

    @staticmethod
    def examples(group: Group, options: TrainOptions) -> int:
        """Returns the batch of one rank: an update is made from it alone."""
        return options.batch_size

    def step(self, loss: Tensor) -> bool:
        """Makes this rank's update; returns False if it was skipped.

        Collective at a synchronisation.

        Raises:
            DivergedError: The gradient of a rank was NaN or infinite since the last
                synchronisation; at this one, on all ranks, whose weights are good and the same.
        """
        self.updates.begin()
        self.updates.backward(loss)
        self.updates.complete()
        updated = self._update()
        done = self.updates.done
        self._common = done % self._interval == 0 or done == self._steps
        if self._common:
            with ALLREDUCE:
                self._synchronise()
        return updated

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the `state_dict` with the mean of the ranks' parameters. Collective."""
        state: dict[str, Tensor] = self.model.state_dict()
        if self._common or self._averaging is None:
            return state
        means = [parameter.detach().clone() for parameter in self._trained]
        self._averaging.average_rows(means, self._touched)
        mean_of = dict(zip(map(id, self._trained), means, strict=True))
        named = self.model.named_parameters(remove_duplicate=False)
        return state | {name: mean_of[id(each)] for name, each in named if id(each) in mean_of}

    def register(self, keeper: Keeper) -> None:
        """Registers the mean weights, what all ranks share, and each rank's weights and optimiser.

        With other ranks a group goes on from a synchronisation only; then all begin with the
        optimiser's averages of the group root.
        """
        super().register(keeper)
        # Some ranks may have skipped updates, or all of them, that others have made.
        keeper.alike = False
        keeper.own("local", _Own(self), anew=self._begin_anew)

    @property
    def sent(self) -> int:
        """Bytes of weights."""
        return self._averaging.sent if self._averaging is not None else 0

    @property
    def skipped(self) -> int:
        """Updates that ranks skipped until the last synchronisation."""
        return self._skipped

    def replicated(self) -> Iterable[Tensor]:
        """Returns all parameters after a synchronisation, nothing otherwise."""
        return self.model.parameters() if self._common else ()

    def state_dict(self) -> dict[str, Any]:
        """Returns the optimiser of this rank, and what all ranks share."""
        return {
            "updates": self.updates.state_dict(),
            "common": self._common,
            "skipped": self._skipped,
            "outer": self._outer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` returned."""
        self.updates.load_state_dict(state["updates"])
        self._common, self._skipped = state["common"], state["skipped"]
        self._outer.load_state_dict(state["outer"])

    def own_state(self) -> dict[str, Any]:
        """Returns what this rank has for itself."""
        return {
            "weights": [parameter.detach() for parameter in self._trained],
            # Each rank has skipped steps of its own, and numbers must be the same on all.
            "updates": _each(_to_tensor, self.updates.state_dict()),
            "touched": [mask for mask in self._touched if mask is not None],
            "failed_at": torch.tensor(self._failed_at),
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `own_state` returned."""
        with torch.no_grad():
            for parameter, tensor in zip(self._trained, state["weights"], strict=True):
                parameter.copy_(tensor)
        self.updates.load_state_dict(_each(_to_number, state["updates"]))
        masks = [mask for mask in self._touched if mask is not None]
        for mask, tensor in zip(masks, state["touched"], strict=True):
            mask.copy_(tensor)
        self._failed_at = int(state["failed_at"])

    def _begin_anew(self, step: int) -> None:
        if not self._common:
            raise HvcodError(
                f"the state of step {step} was saved between two synchronisations of --sgd local, "
                "when each rank had weights of its own: go on with as many ranks per group as "
                "then, or with a --save-interval that is a multiple of --sync-interval from the "
                "start"
            )

    def _update(self) -> bool:
        for table, mask in zip(self._trained, self._touched, strict=True):
            if mask is not None and table.grad is not None:
                mask.index_fill_(0, table.grad.indices()[0], 1)
        try:
            return self.updates.apply()
        except GroupFailedError:
            # The other ranks learn of it when all meet.
            self._failed_at = self._failed_at or self.updates.done
            return False

    def _synchronise(self) -> None:
        """Makes all ranks go on from the mean of their weights. Collective."""
        if self._averaging is not None:
            self._averaging.average_rows([each.data for each in self._trained], self._touched)
            for mask in self._touched:
                if mask is not None:
                    mask.zero_()
        self._outer.step()
        notes = self.group.training_comm.allgather((self._failed_at, self.updates.skipped))
        self._failed_at, before = 0, self._skipped
        self._skipped = sum(skipped for _, skipped in notes)
        if self.group.is_root and self._skipped > before:
            log.warning("ranks skipped %d steps since they last met", self._skipped - before)
        for rank, (step, _) in enumerate(notes):
            if step:
                skip = "" if self._skips else ", or go on with --nonfinite skip"
                raise DivergedError(
                    f"the gradient of rank {rank} was NaN or infinite at step {step}; start a new "
                    f"run with a lower --learning-rate or --clip{skip}"
                )


class _Own:
    """The weights and the optimiser of one rank as a part of its training state."""

    def __init__(self, algorithm: LocalSGD) -> None:
        self._algorithm = algorithm

    def state_dict(self) -> dict[str, Any]:
        return self._algorithm.own_state()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._algorithm.load_own_state(state)


def _each(change: Callable[[Any], Any], tree: Any) -> Any:
    """Returns nested dictionaries and lists with each leaf changed."""
    if isinstance(tree, Mapping):
        return {key: _each(change, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_each(change, value) for value in tree)
    return change(tree)


def _to_tensor(leaf: Any) -> Any:
    return torch.tensor(leaf) if type(leaf) is int else leaf


def _to_number(leaf: Any) -> Any:
    is_one = isinstance(leaf, Tensor) and leaf.dtype is torch.int64 and not leaf.dim()
    return int(leaf) if is_one else leaf


def _check_sizes(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.nbytes > LARGEST_TENSOR:
            raise UsageError(
                f"--sgd local: {name} has {parameter.nbytes} bytes, and each rank's own weights "
                f"can be saved up to {LARGEST_TENSOR} a tensor: use --sgd sync"
            )
