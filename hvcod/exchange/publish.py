"""A group leaves its weights for the others, off the training thread."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from hvcod.tensorfile.encode import encode
from hvcod.tensorfile.origin import Origin
from hvcod.tensorfile.writer import Writer, WriterCounters

_LARGE = 4 * 2**20


def snapshot(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of `tensors`, for `Publisher.publish`; training may go on as soon as it returns.

    The only part of a publication that costs the training thread anything. Each copy is made
    where its tensor lives; from a GPU it is the publisher's thread that brings it to the host.
    """
    copies = {name: _copy(tensor.detach()) for name, tensor in tensors.items()}
    for device in {copy.device for copy in copies.values() if copy.is_cuda}:
        # The publisher's thread uses another stream, which knows nothing of this one's order.
        torch.cuda.current_stream(device).synchronize()
    return copies


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cpu" or tensor.nbytes < _LARGE:
        return tensor.clone(memory_format=torch.contiguous_format)
    # NumPy asks the system for huge pages: a third of the time that pages of 4 KiB took.
    memory = torch.from_numpy(np.empty(tensor.numel() * tensor.itemsize, np.uint8))
    return memory.view(tensor.dtype).view(tensor.shape).copy_(tensor)


_Turn = tuple[dict[str, torch.Tensor], Origin]


class Publisher:
    """Publishes snapshots to one directory, one after the other, on a thread of its own.

    A `Writer` of published checkpoints: a step that is published is never replaced, and weights
    that hold NaN or infinite values are never published. Use it on the group root.
    """

    def __init__(self, directory: Path, keep: int | None = 3) -> None:
        """
        Args:
            directory: Where checkpoints appear; it is made when it is needed.
            keep: How many generations stay; None keeps all.
        """
        self._writer: Writer[_Turn] = Writer(
            directory, _build, keep=keep, replace=False, what="published checkpoint"
        )

    @property
    def counters(self) -> WriterCounters:
        """What became of the snapshots."""
        return self._writer.counters

    def publish(self, tensors: dict[str, torch.Tensor], origin: Origin) -> None:
        """Hands over a `snapshot`, which is the publisher's from now on; returns at once.

        Args:
            tensors: The snapshot; it is emptied.
            origin: With the snapshot's step.

        Raises:
            Exception: What the publisher's thread died of, a mistake in the program.
        """
        self._writer.write(origin.step, (tensors, origin))

    def flush(self, timeout: float = 60.0) -> bool:
        """Waits up to `timeout` s for what was handed over; whether the last is published."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = 60.0) -> bool:
        """Publishes what still waits and ends the thread; whether that was done in `timeout` s.

        Raises what the thread died of.
        """
        return self._writer.close(timeout)


def _build(turn: _Turn) -> memoryview:
    return encode(*turn)
