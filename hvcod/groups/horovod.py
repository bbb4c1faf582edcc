"""Horovod inside one group. Only what averages over several ranks imports this module."""

import os

import horovod.torch as hvd
import torch

from hvcod.errors import HvcodError
from hvcod.groups.environment import ready_for_horovod
from hvcod.groups.split import Group


def start_horovod(group: Group, device: torch.device) -> None:
    """Initialises Horovod on the communicator of the group's trainers.

    Each group has a coordinator and cycles of its own. Collective over the trainers.

    Raises:
        HvcodError: The installed Horovod was built without MPI, or without support for the device.
    """
    if not hvd.mpi_built():
        raise HvcodError("this Horovod was built without MPI: build it with HOROVOD_WITH_MPI=1")
    check_device(device)
    ready_for_horovod(group.index)
    # The base algorithm puts messages together, always in the same way.
    os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
    if hvd.is_initialized():
        hvd.shutdown()  # of an earlier training in this process, perhaps with other groups
    hvd.init(comm=group.training_comm)


def check_device(device: torch.device) -> None:
    """Raises HvcodError if the installed Horovod cannot average what lies on a device."""
    if device.type == "cuda" and not (hvd.cuda_built() or hvd.rocm_built()):
        raise HvcodError(
            "torch sees a GPU, but this Horovod was built without one: set up again with "
            "HOROVOD_GPU_OPERATIONS=NCCL, or use --device cpu"
        )
