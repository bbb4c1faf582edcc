"""Horovod inside one group, with what Horovod leaves to its users put right (DESIGN: traps)."""

import os

import horovod.torch as hvd
import torch

from hvcod.errors import HvcodError
from hvcod.groups.environment import ready_for_horovod
from hvcod.groups.split import Group


def start_horovod(group: Group) -> None:
    """Initialises Horovod on the group's communicator: its own coordinator, its own cycles.

    Collective over the group.

    Raises:
        HvcodError: The installed Horovod was built without MPI.
    """
    if not hvd.mpi_built():
        raise HvcodError(
            "the installed Horovod was built without MPI: build it with HOROVOD_WITH_MPI=1"
        )
    ready_for_horovod(group.index)
    # Messages are put together by the optimiser, always in the same way.
    os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
    if hvd.is_initialized():
        hvd.shutdown()  # of a launch before this one, perhaps with other groups
    hvd.init(comm=group.comm)


def choose_device(group: Group, wish: str) -> torch.device:
    """The device of this rank, by its rank on the node, and its share of the node's cores.

    Args:
        group: This rank's group.
        wish: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        HvcodError: ``cuda`` is wanted and there is none, or Horovod was built without it.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(group.threads)
    devices = torch.cuda.device_count()
    if wish == "cuda" and not devices:
        raise HvcodError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if wish == "cpu" or not devices:
        return torch.device("cpu")
    if not (hvd.cuda_built() or hvd.rocm_built()):
        raise HvcodError(
            "torch sees a GPU, but this Horovod was built without one: set up again with "
            "HOROVOD_GPU_OPERATIONS=NCCL, or use --device cpu"
        )
    device = torch.device("cuda", group.node_rank % devices)
    torch.cuda.set_device(device)
    return device
