"""Asserts on every rank what `split`, Horovod and `Agreement` promise. Arguments: groups."""

import os
import sys
from typing import cast

import horovod.torch as hvd
import torch
from mpi4py import MPI

from hvcod.groups.agreement import Agreement
from hvcod.groups.device import choose_device
from hvcod.groups.horovod import start_horovod
from hvcod.groups.split import split
from hvcod.groups.world import wait_quietly, world
from hvcod.tasks.builtin import data_folder
from hvcod.tasks.criteo.preparation import builtin

everyone, count = world(), int(sys.argv[1])
group = split(everyone, count)
assert (group.count, group.size) == (count, everyone.size // count)
assert (group.index, group.rank) == divmod(everyone.rank, group.size)  # contiguous
assert group.is_root == (group.rank == 0)

device = choose_device(group, "cpu")
assert device == torch.device("cpu")
start_horovod(group, device)
assert (hvd.rank(), hvd.size()) == (group.rank, group.size)
# Horovod's local rank restarts in every group of a node; the number that picks a device must not.
assert hvd.local_rank() == group.rank
assert group.node_rank == everyone.rank
cores = len(os.sched_getaffinity(0))
assert group.threads == max(1, cores // everyone.size)

# Gradients are averaged inside the group and nowhere else.
mean = hvd.allreduce(torch.tensor([float(everyone.rank)]), op=hvd.Average).item()
assert mean == group.index * group.size + (group.size - 1) / 2

# Both libraries talk at once, from different threads, on one MPI.
handles = [hvd.allreduce_async(torch.ones(100_000), name=f"t{i}") for i in range(8)]
total = everyone.allreduce(1)
assert total == everyone.size
assert all(hvd.synchronize(handle).eq(1).all() for handle in handles)

agreement = Agreement(group.comm, [-1])
answers = [agreement.exchange([10 * call + group.rank])[0] for call in range(4)]
agreement.close()
assert answers == [-1, *(10 * call + group.size - 1 for call in range(3))], answers

assert len({group.seed(1), group.seed(2)}) == 2
seeds = everyone.allgather(group.seed(7))
assert len(set(seeds)) == count

# A team of all ranks but the last makes built-in data, while that one has no run and waits.
busy = everyone.rank < max(1, everyone.size - 1)
team = cast(MPI.Intracomm, everyone.Split(0 if busy else MPI.UNDEFINED, everyone.rank))
if busy:
    builtin.ROWS = 600
    folder = data_folder("criteo", None, split(team, team.size))
    assert set(team.allgather(folder)) == {folder}
    assert (folder / "dataset.json").exists()
wait_quietly(everyone)

timeline = os.environ.get("HOROVOD_TIMELINE")
if timeline:
    assert f"group-{group.index}" in timeline
assert MPI.Query_thread() == MPI.THREAD_MULTIPLE
print(f"rank {everyone.rank} ok", flush=True)
