"""``hvcod train`` with a base algorithm of its own, which sends the signs of gradients."""

from mpi4py import MPI
from torch import Tensor, nn

from hvcod.config import TrainOptions
from hvcod.groups.split import Group
from hvcod.registry import BASE_ALGORITHMS
from hvcod.training.sgd.base import BaseAlgorithm
from hvcod.training.state.keeper import Keeper
from hvcod.training.state.part import Attribute


class Signs(BaseAlgorithm):
    """Averages signs; each rank keeps what they leave out of its gradients for the next step."""

    def __init__(self, model: nn.Module, group: Group, options: TrainOptions) -> None:
        super().__init__(model, group, options)
        self.errors = [each.new_zeros(each.shape) for each in model.parameters()]

    def step(self, loss: Tensor) -> bool:
        self.updates.begin()
        loss.backward()
        self.updates.complete()
        for parameter, error in zip(self.model.parameters(), self.errors, strict=True):
            assert parameter.grad is not None
            error += parameter.grad
            parameter.grad = error.sign() * error.abs().mean()
            error -= parameter.grad
            self.group.training_comm.Allreduce(MPI.IN_PLACE, parameter.grad.numpy())
            parameter.grad /= self.group.trainers
        return self.updates.apply()

    def register(self, keeper: Keeper) -> None:
        super().register(keeper)
        keeper.own("errors", Attribute(self, "errors", self.errors[0].device))


with BASE_ALGORITHMS.added("signs", Signs):
    from hvcod.cli.main import main

    main()
