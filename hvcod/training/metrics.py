"""What a run says of itself: ``metrics.jsonl``, TensorBoard events, means over a group."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpi4py import MPI
from torch import Tensor

from hvcod.errors import HvcodError

log = logging.getLogger("hvcod.training")


class MetricsFile:
    """Appends one JSON object a line; a full disk is told once and costs lines, not the run."""

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self._path, self._file = path, path.open("a", buffering=1)
        self._events = _event_writer(tensorboard) if tensorboard else None
        self._failed = False

    def write(self, figures: Mapping[str, Any]) -> None:
        """Appends one line. Figures that are numbers also go to TensorBoard, by ``step``."""
        try:
            self._file.write(json.dumps(figures) + "\n")
        except OSError as error:
            if not self._failed:
                log.warning("metrics are being lost: %s: %s", self._path, error.strerror)
            self._failed = True
        if self._events is not None:
            for name, value in figures.items():
                if isinstance(value, int | float) and name != "step":
                    self._events.add_scalar(name, value, figures["step"])

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


class Mean:
    """A running mean of scalars; tensors stay on their device until somebody asks."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def add(self, value: Tensor | float) -> None:
        """Adds one value."""
        self._sum = self._sum + value
        self._count += 1

    def take(self, comm: MPI.Intracomm) -> float:
        """The mean over all ranks since the last call, and starts anew. Collective."""
        total, count = comm.allreduce(float(self._sum)), comm.allreduce(self._count)
        self._sum, self._count = 0.0, 0
        return float(total / max(count, 1))


def _event_writer(directory: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise HvcodError("--tensorboard needs: pip install 'hvcod[tensorboard]'") from error
    return SummaryWriter(str(directory))
