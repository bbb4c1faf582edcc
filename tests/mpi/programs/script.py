"""A user's script that ends in some way. Arguments: how, folder of the run."""

import sys
import threading
import time

import horovod.torch as hvd
import torch
from torch import nn

from hvcod import Codistiller, CodistillOptions, Groups
from hvcod.errors import HvcodError

how, folder = sys.argv[1:]
groups = Groups(2, silence_limit=2 if how == "skips" else 300)
one = groups.index == 1 and groups.is_root
hvd.init(comm=groups.comm)
model = nn.Linear(2, 3)
options = CodistillOptions(exchange_interval=2, burn_in=0)
codistiller = Codistiller(model, groups, folder, options)
for _ in range(5):
    codistiller.step()

if how == "leaves" and one:
    sys.exit()
for _ in range(8 if how in ("skips", "leaves") else 0):
    if not one:
        codistiller.step()
    hvd.allreduce(torch.ones(1))

if how != "end" and one:
    if how == "thread":
        threading.Thread(target=lambda: 1 / 0).start()
        time.sleep(600)
    if how == "error":
        raise HvcodError("the disk is full; make room")
    raise ValueError("a mistake in the script")
if how != "end":
    hvd.allreduce(torch.ones(1))
    groups.comm.Barrier()
    time.sleep(600)
print(f"rank {groups.shard} of {groups.shards} ok", flush=True)
