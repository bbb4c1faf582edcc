"""What a run says of itself: ``metrics.jsonl``, TensorBoard events, means over a group."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from torch import Tensor

from hvcod.errors import HvcodError

log = logging.getLogger("hvcod.training")


class MetricsFile:
    """Appends one JSON object a line; a full disk is told once and costs lines, not the run."""

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self._path, self._file = path, path.open("ab", buffering=0)
        self._events = _event_writer(tensorboard) if tensorboard else None
        self._failed = False

    def write(self, figures: Mapping[str, Any]) -> None:
        """Appends one line. Figures that are numbers also go to TensorBoard, by ``step``."""
        try:
            self._file.write((json.dumps(figures) + "\n").encode())
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


class Means:
    """Running means of named scalars; tensors stay on their device until somebody asks."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._count = 0

    def add(self, **values: Tensor | float) -> None:
        """Adds one value of each name, the same names at every call."""
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in values.items()}
        self._count += 1

    def take(self, comm: MPI.Intracomm) -> dict[str, float]:
        """The means over all ranks since the last call, and starts anew. Collective."""
        totals = np.array([float(each) for each in self._sums.values()] + [self._count])
        comm.Allreduce(MPI.IN_PLACE, totals)
        means = dict(zip(self._sums, (totals[:-1] / totals[-1]).tolist(), strict=True))
        self._sums, self._count = {}, 0
        return means


def _event_writer(directory: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise HvcodError("--tensorboard needs: pip install 'hvcod[tensorboard]'") from error
    return SummaryWriter(str(directory))
