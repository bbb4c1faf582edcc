"""The device on which a rank computes."""

import os

import torch

from hvcod.errors import HvcodError
from hvcod.groups.memory import keep_memory
from hvcod.groups.split import Group


def choose_device(group: Group, device: str) -> torch.device:
    """Returns this rank's device, by its number on the node; `device` is auto, cpu or cuda.

    Also gives torch this rank's share of the node's cores, unless OMP_NUM_THREADS is set, and lets
    a rank that computes on its CPU keep the memory that it frees.

    Raises:
        HvcodError: ``cuda`` is asked for, and torch sees no such device.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(group.threads)
    devices = torch.cuda.device_count()
    if device == "cuda" and not devices:
        raise HvcodError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if device == "cpu" or not devices:
        keep_memory()
        return torch.device("cpu")
    chosen = torch.device("cuda", group.node_rank % devices)
    torch.cuda.set_device(chosen)
    return chosen
