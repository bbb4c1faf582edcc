"""Metrics of predictions, over all ranks and the same for any number of them."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvcod.groups.communicator import Communicator

UNKNOWN = -100
"""Target of a prediction that is not scored, as the right answer is unknown; torch's own value."""


class Metric(Protocol):
    """A figure that every batch adds to and that is computed at the end.

    For ``--keep-best`` it has an attribute ``higher_is_better``, too.
    """

    def add(self, log_probabilities: Tensor, targets: Tensor) -> None:
        """Adds log-probabilities [N, classes], and the right classes [N], none of them unknown."""

    def value(self, comm: Communicator) -> float:
        """Returns the figure over all ranks; NaN if nothing was added. Collective."""


class Mean:
    """The mean of `function`: (log-probabilities [N, classes], targets [N]) -> values [N]."""

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], higher_is_better: bool = False
    ) -> None:
        self._function, self.higher_is_better = function, higher_is_better
        self._sums: list[Tensor] = []
        self._count = 0

    def add(self, log_probabilities: Tensor, targets: Tensor) -> None:
        """Adds some predictions."""
        self._sums.append(self._function(log_probabilities, targets).sum(dtype=torch.float64))
        self._count += len(targets)

    def value(self, comm: Communicator) -> float:
        """Returns the mean over all ranks. Collective."""
        # An exact sum does not depend on the order, and so not on who had which batch.
        gathered = comm.allgather([float(value) for value in self._sums])
        count = comm.allreduce(self._count)
        total = math.fsum(value for sums in gathered for value in sums)
        return total / count if count else math.nan


def negative_log_likelihood() -> Mean:
    """Returns the log loss in nats: minus the logarithm of the probability of the right class."""
    return Mean(lambda logs, targets: -logs.gather(1, targets[:, None]).squeeze(1))


def divergence() -> Mean:
    """Returns the mean KL divergence of one model's predictions from another's, in nats.

    It is fed the log-probabilities [N, classes] of the first, and as targets those of the second.
    """

    def of_rows(first: Tensor, second: Tensor) -> Tensor:
        terms = first.exp().mul_(first - second)
        return terms.masked_fill_(first == -math.inf, 0).sum(dim=1)

    return Mean(of_rows)


def accuracy() -> Mean:
    """Returns the share of predictions whose most probable class was right."""
    return Mean(lambda logs, targets: logs.argmax(dim=1) == targets, higher_is_better=True)


class AreaUnderCurve:
    """The area under the ROC curve of two classes: how often a positive ranks above a negative."""

    higher_is_better = True

    def __init__(self) -> None:
        self._scores: list[npt.NDArray[np.float32]] = []
        self._targets: list[npt.NDArray[np.bool_]] = []

    def add(self, log_probabilities: Tensor, targets: Tensor) -> None:
        """Adds some predictions."""
        self._scores.append((log_probabilities[:, 1] - log_probabilities[:, 0]).cpu().numpy())
        self._targets.append((targets == 1).cpu().numpy())

    def value(self, comm: Communicator) -> float:
        """Returns the area over all ranks' predictions; NaN without both classes. Collective."""
        both = self._scores, self._targets
        mine = [np.concatenate(batches) if batches else np.empty(0) for batches in both]
        gathered = comm.gather(mine)
        area = math.nan
        if gathered is not None:
            area = _area(*(np.concatenate(shares) for shares in zip(*gathered, strict=True)))
        return float(comm.bcast(area))


def _area(scores: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    positive = targets.astype(bool)
    positives = int(positive.sum())
    pairs = positives * (len(positive) - positives)
    if not pairs:
        return math.nan
    # The Mann-Whitney statistic: pairs in the right order, and half of those that tie.
    right = float(rankdata(scores)[positive].sum()) - positives * (positives + 1) / 2
    return right / pairs
