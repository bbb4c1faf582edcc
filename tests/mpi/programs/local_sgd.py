"""``hvcod train`` with a base algorithm of its own, which averages weights now and then."""

from collections.abc import Iterable, Mapping
from typing import Any

from mpi4py import MPI
from torch import Tensor

from hvcod.registry import BASE_ALGORITHMS
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.state.keeper import Keeper

INTERVAL = 8


class Local(BaseAlgorithm):
    """Each rank goes down its own gradients; after some steps all take the mean of the weights."""

    done = 0

    def step(self, loss: Tensor) -> bool:
        self.updates.begin()
        loss.backward()
        self.updates.complete()
        updated = self.updates.apply()
        self.done += 1
        if self.done % INTERVAL == 0:
            for parameter in self.model.parameters():
                self.group.training_comm.Allreduce(MPI.IN_PLACE, parameter.data.numpy())
                parameter.data /= self.group.trainers
        return updated

    def register(self, keeper: Keeper) -> None:
        keeper.own("optimizer", self)

    def replicated(self) -> Iterable[Tensor]:
        return self.model.parameters() if self.done % INTERVAL == 0 else ()

    def state_dict(self) -> dict[str, Any]:
        mine = {"done": self.done, "weights": dict(self.model.named_parameters())}
        return super().state_dict() | {"local": mine}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.done = state["local"]["done"]
        self.model.load_state_dict(state["local"]["weights"], strict=False)


with BASE_ALGORITHMS.added("local", Local):
    from hvcod.cli.main import main

    main()
