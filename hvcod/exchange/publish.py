"""Publishes a group's weights for the other groups, off the training thread."""

from collections.abc import Mapping
from pathlib import Path

import torch

from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.precision import Tensors, new_tensor, rounded
from hvcod.tensorfile.writer import Writer

_MUCH = 256 * 2**20
"""Bytes of weights from which on memory counts more than a few milliseconds of the step."""


def snapshot(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies `tensors`; training may go on as soon as it returns.

    Each copy is made on the device of its tensor; the thread that writes them brings those on a
    GPU to the host.
    """
    copies = {name: _copy(tensor.detach()) for name, tensor in tensors.items()}
    for device in {copy.device for copy in copies.values() if copy.is_cuda}:
        # The publisher's thread uses another stream, which does not wait for this one.
        torch.cuda.current_stream(device).synchronize()
    return copies


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return new_tensor(tensor, tensor.dtype).copy_(tensor)


def weights_to_publish(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Copies `tensors` for `Publisher.publish`: all that a publication costs the training thread.

    Many weights on a CPU are rounded at once, so that the copy is no larger than the file: that
    takes up to three times as long as a copy as they are.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors.values())
    if on_cpu and sum(tensor.nbytes for tensor in tensors.values()) >= _MUCH:
        return {name: rounded(name, tensor) for name, tensor in tensors.items()}
    return snapshot(tensors)


class Publisher(Writer[tuple[Tensors, Origin]]):
    """Publishes snapshots to one directory, one after the other, on a thread of its own.

    A step that is published is never replaced, and weights that hold NaN or infinite values are
    never published. To be used on the group root.
    """

    def __init__(self, directory: Path, keep: int | None = 3) -> None:
        """The last `keep` generations stay; None keeps all."""
        what = "published checkpoint"
        super().__init__(directory, lambda item: encode(*item), keep=keep, replace=False, what=what)

    def publish(self, tensors: Tensors, origin: Origin) -> None:
        """Hands over copies, which belong to the publisher and are emptied; see `write`."""
        self.write(origin.step, (tensors, origin))
