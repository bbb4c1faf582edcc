"""A group leaves its weights for the others, off the training thread."""

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from hvcod.errors import HvcodError
from hvcod.exchange.directory import checkpoint_path, prune, write_new
from hvcod.exchange.encode import encode
from hvcod.exchange.format import Metadata
from hvcod.exchange.worker import Worker

_LARGE = 4 * 2**20

logger = logging.getLogger("hvcod.exchange")


@dataclass
class PublisherCounters:
    """What became of the snapshots, and what the last publication took.

    Attributes:
        published: Checkpoints that became visible.
        dropped: Snapshots that a newer one overtook while they waited.
        existing: Snapshots of a step that was published already.
        failed: Snapshots that could not be published.
        seconds: From the snapshot's turn to its visibility, last publication.
        bytes: Size of the last publication.
    """

    published: int = 0
    dropped: int = 0
    existing: int = 0
    failed: int = 0
    seconds: float = 0.0
    bytes: int = 0


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


class Publisher:
    """Publishes snapshots to one directory, one after the other, on a thread of its own.

    While one is being written the newest waits and older ones are dropped. A failure (a full
    disk, no permission, NaN in the weights) costs that one publication: it is counted, logged
    once per cause, and nothing is left behind. Use it on the group root, only one per directory.
    """

    def __init__(self, directory: Path, keep: int = 3) -> None:
        """
        Args:
            directory: Where checkpoints appear; it is made when it is needed.
            keep: How many generations stay.
        """
        self.counters = PublisherCounters()
        self._directory, self._keep = directory, keep
        self._wake = threading.Condition()
        self._waiting: tuple[dict[str, torch.Tensor], Metadata] | None = None
        self._closing = False
        self._logged: set[str] = set()
        self._worker = Worker("hvcod-publish", self._run)

    def publish(self, tensors: dict[str, torch.Tensor], metadata: Metadata) -> None:
        """Hands over a `snapshot`, which is the publisher's from now on; returns at once.

        Args:
            tensors: The snapshot; it is emptied.
            metadata: With the snapshot's step; the creation time is filled in.

        Raises:
            Exception: What the publisher's thread died of, a mistake in the program.
        """
        self._worker.check()
        with self._wake:
            self.counters.dropped += self._waiting is not None
            self._waiting = tensors, metadata
            self._wake.notify()

    def close(self, timeout: float = 60.0) -> bool:
        """Publishes what still waits and ends the thread; whether that was done in `timeout` s.

        Raises what the thread died of.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        done = self._worker.join(timeout)
        if not done:
            logger.warning(
                "%s: still publishing after %g s; gave up waiting", self._directory, timeout
            )
        return done

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            tensors, metadata = turn
            path = checkpoint_path(self._directory, metadata.step)
            try:
                self._publish(path, tensors, metadata)
            except (OSError, HvcodError) as error:
                self.counters.failed += 1
                self._log(path, (isinstance(error, OSError) and error.strerror) or str(error))
            finally:
                tensors.clear()

    def _next(self) -> tuple[dict[str, torch.Tensor], Metadata] | None:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting is not None or self._closing)
            turn, self._waiting = self._waiting, None
            return turn

    def _publish(self, path: Path, tensors: dict[str, torch.Tensor], metadata: Metadata) -> None:
        if os.path.lexists(path):
            self.counters.existing += 1
            self._log(path, "that step is published already, and is never replaced")
            return
        begun = time.perf_counter()
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = encode(tensors, replace(metadata, created=created))
        self._directory.mkdir(parents=True, exist_ok=True)
        write_new(path, data)
        self.counters.bytes = len(data)
        self.counters.seconds = time.perf_counter() - begun
        self.counters.published += 1
        prune(self._directory, metadata.step, self._keep)

    def _log(self, path: Path, reason: str) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            logger.warning("%s not published: %s; training goes on (logged once)", path, reason)
