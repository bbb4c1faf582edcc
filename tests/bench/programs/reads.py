"""A rank of a group that takes weights which another group has published.

    mpirun -np R python reads.py shared|each DIRECTORY BYTES

`shared` is as hvcod does it: the group root reads, and hands on. With `each`, every rank reads for
itself. Rank 0 prints the bytes that all ranks have read from files, by the system's count.
"""

import sys
import time
from pathlib import Path

import torch
from mpi4py import MPI

from hvcod.codistill.exchanges.transfer import Transfer
from hvcod.exchange.assemble import Assembler
from hvcod.exchange.poll import Poller
from hvcod.groups.split import Groups
from hvcod.tensorfile.format import TensorSpec
from hvcod.tensorfile.origin import Origin

STEP = 50


def main() -> None:
    way, directory, elements = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) // 2
    expected = {"weight": TensorSpec((elements,), torch.float16)}
    group, ours = Groups(1), Origin("run", "task")
    group.comm.Barrier()
    before = read_so_far()
    if way == "each":
        assert Assembler(directory, 0, expected, ours).fetch(STEP)
    else:
        poller = Poller({0: directory}, {0: expected}, ours) if group.is_root else None
        transfer = Transfer(group, poller)
        if poller:
            poller.look(STEP)
        while transfer.step() is None:
            time.sleep(0.001)
        transfer.close()
        if poller:
            poller.close()
    total = MPI.COMM_WORLD.reduce(read_so_far() - before)
    if group.is_root:
        print(total)


def read_so_far() -> int:
    """Bytes that this process has asked the system for, sockets and pipes left out as far as the
    kernel does."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


main()
