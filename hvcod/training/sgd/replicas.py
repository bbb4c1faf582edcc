"""The check that the ranks of a group have trained one and the same model."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.training.sgd.base import BaseAlgorithm


def common_weights(algorithm: BaseAlgorithm) -> str:
    """Returns the SHA-256 of this rank's parameters, once `replicated` tensors proved to be equal.

    Collective over the group.

    Raises:
        HvcodError: They differ between two ranks, so that something was not averaged.
    """
    group = algorithm.group
    digests = group.comm.allgather(_digest(algorithm.replicated()))
    different = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if different:
        raise HvcodError(
            f"group {group.index}: ranks {different} ended with other weights than rank 0; "
            "do not use this run: the gradients were not averaged"
        )
    return _digest(algorithm.model.parameters())


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
