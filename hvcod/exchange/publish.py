"""Publishes a group's weights for the other groups, off the training thread."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.writer import Writer

_LARGE = 4 * 2**20


def snapshot(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies `tensors` for `Publisher.publish`; training may go on as soon as it returns.

    This is all that a publication costs the training thread. Each copy is made on the device of
    its tensor; the publisher's thread brings those on a GPU to the host.
    """
    copies = {name: _copy(tensor.detach()) for name, tensor in tensors.items()}
    for device in {copy.device for copy in copies.values() if copy.is_cuda}:
        # The publisher's thread uses another stream, which does not wait for this one.
        torch.cuda.current_stream(device).synchronize()
    return copies


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cpu" or tensor.nbytes < _LARGE:
        return tensor.clone(memory_format=torch.contiguous_format)
    # NumPy asks the system for huge pages: a third of the time that pages of 4 KiB took.
    memory = torch.from_numpy(np.empty(tensor.numel() * tensor.itemsize, np.uint8))
    return memory.view(tensor.dtype).view(tensor.shape).copy_(tensor)


class Publisher(Writer[tuple[dict[str, torch.Tensor], Origin]]):
    """Publishes snapshots to one directory, one after the other, on a thread of its own.

    A step that is published is never replaced, and weights that hold NaN or infinite values are
    never published. To be used on the group root.
    """

    def __init__(self, directory: Path, keep: int | None = 3) -> None:
        """The last `keep` generations stay; None keeps all."""
        what = "published checkpoint"
        super().__init__(directory, lambda item: encode(*item), keep=keep, replace=False, what=what)

    def publish(self, tensors: dict[str, torch.Tensor], origin: Origin) -> None:
        """Hands over a `snapshot`, which belongs to the publisher and is emptied; see `write`."""
        self.write(origin.step, (tensors, origin))
