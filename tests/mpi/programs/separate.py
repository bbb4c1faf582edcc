"""A user's script that is one of two launches. Arguments: group, folder of the run."""

import sys
import time

import horovod.torch as hvd
import torch
from torch import nn

from hvcod import Codistiller, CodistillOptions, Groups

group, folder = int(sys.argv[1]), sys.argv[2]
groups = Groups(2, only=group)
hvd.init(comm=groups.comm)
torch.manual_seed(groups.seed(1))
model = nn.Linear(2, 3)
options = CodistillOptions(exchange_interval=2, burn_in=0)
codistiller = Codistiller(model, groups, folder, options, run_id="both")
inputs = torch.ones(1, 2)
while not hvd.allreduce(torch.tensor(float(codistiller.exchanges)), op=hvd.Sum):
    term = codistiller.loss(model(inputs), inputs)
    assert term == 0
    codistiller.step()
    time.sleep(0.01)
assert codistiller.loss(model(inputs), inputs) > 0
print(f"rank {groups.shard} of {groups.shards}: taught by {codistiller.teachers_used}", flush=True)
