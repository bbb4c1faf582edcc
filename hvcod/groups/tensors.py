"""Tensors sent between the ranks of a group by plain MPI, on any thread.

All functions are collective over their communicator. Each thread needs a communicator of its own.
"""

import numpy as np
import torch
from torch import Tensor

from hvcod.groups.communicator import SLICE_BYTES, Communicator


def broadcast_tensors(comm: Communicator, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Returns rank 0's tensors on every rank, on the host. Other ranks pass None."""
    forms = {name: (tensor.dtype, tensor.shape) for name, tensor in (tensors or {}).items()}
    received = {}
    for name, (dtype, shape) in comm.bcast(forms).items():
        tensor = tensors[name].contiguous() if tensors else torch.empty(shape, dtype=dtype)
        flat = _bytes(tensor)
        for start in range(0, flat.size, SLICE_BYTES):
            comm.Bcast(flat[start : start + SLICE_BYTES])
        received[name] = tensor
    return received


def gather_tensor(comm: Communicator, tensor: Tensor) -> Tensor | None:
    """Returns all ranks' tensors, of one shape and type, as [ranks, ...] on rank 0."""
    tensor = tensor.contiguous()
    if comm.rank:
        comm.Gather(_bytes(tensor), None)
        return None
    gathered = torch.empty((comm.size, *tensor.shape), dtype=tensor.dtype)
    comm.Gather(_bytes(tensor), _bytes(gathered))
    return gathered


def scatter_tensors(comm: Communicator, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Returns each rank's part of rank 0's tensors [ranks, ...]. Other ranks pass None."""
    forms = {name: (tensor.dtype, tensor[0].shape) for name, tensor in (tensors or {}).items()}
    received = {}
    for name, (dtype, shape) in comm.bcast(forms).items():
        received[name] = torch.empty(shape, dtype=dtype)
        parts = _bytes(tensors[name].contiguous()) if tensors else None
        comm.Scatter(parts, _bytes(received[name]))
    return received


def _bytes(tensor: Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.uint8).numpy()
