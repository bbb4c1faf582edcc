"""One rank trains the same with and without Horovod. Arguments: the optimiser's algorithm."""

import sys

import torch
from torch import nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.groups.split import Group, split
from hvcod.groups.world import mpi_world
from hvcod.training.sgd.synchronous import Synchronous

STEPS, ROWS = 8, 50


class WithHorovod(Synchronous):
    """Averages over its one rank."""

    def __init__(self, model: nn.Module, group: Group, options: TrainOptions) -> None:
        from hvcod.training.sgd.allreduce import Allreduce

        super().__init__(model, group, options)
        self._mean = Allreduce(model, group, self.updates)


class Model(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, 8, sparse=sparse)
        self.at_times = nn.Embedding(ROWS, 8, sparse=sparse)
        self.out, self.unused = nn.Linear(8, 1), nn.Linear(8, 8)

    def forward(self, ids: torch.Tensor, both: bool) -> torch.Tensor:
        rows = self.table(ids) + (self.at_times(ids) if both else 0)
        out: torch.Tensor = self.out(torch.tanh(rows.sum(1)))
        return out


def trained(kind: type[Synchronous], algorithm: str, sparse: bool) -> dict[str, torch.Tensor]:
    """The weights after some steps, of which one is skipped and some do not use all tables."""
    of_optimizer = OptimizerOptions(
        algorithm=algorithm, learning_rate=0.1, warmup=2, clip=0.05, weight_decay=0.01
    )
    options = TrainOptions(steps=STEPS, nonfinite="skip", optimizer=of_optimizer)
    torch.manual_seed(1)
    model = Model(sparse)
    optimizer = kind(model, group, options)
    for step in range(STEPS):
        loss = (model(torch.randint(0, ROWS, (8, 3)), step % 3 == 0) - 1).square().mean()
        assert optimizer.step(loss * torch.nan if step == 4 else loss) == (step != 4)
    return model.state_dict()


group = split(mpi_world())
algorithm = sys.argv[1]
for sparse in (False, True) if algorithm != "sgd" else (False,):
    without = trained(Synchronous, algorithm, sparse)
    initialised = "horovod.torch" in sys.modules and sys.modules["horovod.torch"].is_initialized()
    assert initialised == sparse  # by the turn before
    found = trained(WithHorovod, algorithm, sparse)
    assert all(torch.equal(tensor, found[name]) for name, tensor in without.items())
    assert not torch.equal(without["unused.weight"], torch.zeros(8, 8))
print("ok")
