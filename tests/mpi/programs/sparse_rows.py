"""Some steps of a group of all ranks on a model with an embedding table; saves the weights.

Of sparse gradients, those of every other batch come in three parts.

python sparse_rows.py FOLDER ALGORITHM-sparse|ALGORITHM-dense ...
"""

import copy
import sys

import torch
from torch import nn

from hvcod.config import OptimizerOptions, TrainOptions
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.sgd.synchronous import Synchronous

STEPS, ROWS = 6, 50


class Clicks(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ROWS, 4, sparse=sparse) for _ in range(5))
        self.out = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor, tables: int = 5) -> torch.Tensor:
        used = list(self.tables)[:tables]
        clicks: torch.Tensor = self.out(torch.tanh(sum(table(ids).sum(1) for table in used)))
        return clicks


def train(algorithm: str, kind: str) -> dict[str, torch.Tensor]:
    """Trains in two lives; returns the weights, once a NaN of one rank has left them alone."""
    torch.manual_seed(group.rank)  # rank 0's weights count
    model = Clicks(kind == "sparse").double()
    of_optimizer = OptimizerOptions(algorithm=algorithm, learning_rate=0.1, warmup=0, clip=0.05)
    options = TrainOptions(steps=STEPS, nonfinite="skip", optimizer=of_optimizer)
    optimizer = Synchronous(model, group, options)
    torch.manual_seed(10 + group.rank)
    for step in range(STEPS):
        if step == STEPS // 2:  # goes on in another life
            states = group.comm.allgather(optimizer.state_dict())
            state = states[0]  # as it is saved: rank 0's for all
            model = copy.deepcopy(model)
            optimizer = Synchronous(model, group, options)
            optimizer.load_state_dict(state)
        ids = torch.randint(0, ROWS // 2, (9, 3))
        # The last rank does not use all tables in every step; the others wait for it all the same.
        tables = 3 if group.rank == group.size - 1 and step % 2 else 5
        # The last part does not reach all tables that those before it reach.
        reached = zip(ids.chunk(3), (5, 5, tables), strict=True)
        parts = [(model(part, used) - 1).square().sum() / len(ids) for part, used in reached]
        *earlier, last = parts if kind == "sparse" and step % 2 else [sum(parts)]
        for loss in earlier:
            optimizer.accumulate(loss)
        assert optimizer.step(last)
        gradients = [table.weight.grad for table in model.tables]
        assert all(each is not None and each.is_sparse == (kind == "sparse") for each in gradients)
    model = copy.deepcopy(model)
    optimizer = Synchronous(model, group, options)
    bad = model(torch.zeros(2, 3, dtype=torch.long)).mean()
    good = {name: each.detach().clone() for name, each in model.state_dict().items()}
    assert not optimizer.step(bad * (torch.nan if group.rank == group.size - 1 else 1.0))
    assert all(torch.equal(good[name], each) for name, each in model.state_dict().items())
    return good


folder, *runs = sys.argv[1:]
group = split(world(), 1)
for run in runs:
    torch.save(train(*run.split("-")), f"{folder}/{run}-{group.rank}.pt")
