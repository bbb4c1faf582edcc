"""The ensemble gap: by how much the mean of the groups' predictions beats each group's own.

A student that agrees with its teachers predicts about their mean, so the gap is about the most that
codistillation of these models can give.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from torch import Tensor

from hvcod.errors import HvcodError
from hvcod.evaluation.evaluate import mean_distribution, pairs
from hvcod.evaluation.models import Trained
from hvcod.groups.communicator import Alone
from hvcod.groups.split import Group
from hvcod.progress import Progress
from hvcod.tasks.metrics import UNKNOWN, divergence
from hvcod.training.validation import metrics_of, predictive_distributions

LEVEL = 0.95

Floats = npt.NDArray[np.float64]


class Gap(NamedTuple):
    """An ensemble gap, in nats per scored prediction.

    Attributes:
        losses: The loss of each group's model.
        ensemble: The loss of the mean of their predictive distributions.
        gap: The mean of `losses` minus `ensemble`.
        low: The lower end of its 95% interval over batches of the data; None with a single batch.
        high: The upper end.
        disagreement: The mean KL divergence between the predictions of two groups.
        predictions: How many were scored.
    """

    losses: list[float]
    ensemble: float
    gap: float
    low: float | None
    high: float | None
    disagreement: float
    predictions: int


def measure_gap(models: Sequence[Trained], ranks: Group) -> Gap:
    """Returns the ensemble gap of the models of some groups, at least two, on validation data.

    Collective over the ranks of the launch, which share the data.

    Raises:
        HvcodError: No example has a label, or the models cannot be combined.
    """
    mine: list[list[float]] = []
    progress = Progress(None, "comparing the groups", "batch", shown=ranks.is_root)
    for batch, answers in predictive_distributions(pairs(models), "validation", models[0].device):
        ensemble = mean_distribution(answers, models)
        mine.append(_sums(models, [*answers, ensemble], batch.targets.flatten()))
        progress.update()
    progress.close()
    everyones = [row for rows in ranks.comm.allgather(mine) for row in rows if row[0]]
    if not everyones:
        raise HvcodError("no validation example has a label to score")
    blocks = np.array(everyones, dtype=np.float64)
    totals = blocks.sum(axis=0)
    *losses, ensemble_loss, apart = (totals[1:] / totals[0]).tolist()
    gaps = blocks[:, 1:-2].mean(axis=1) - blocks[:, -2]
    gap = float(gaps.sum() / totals[0])
    low, high = _interval(gaps, blocks[:, 0])
    return Gap(losses, ensemble_loss, gap, low, high, apart, int(totals[0]))


def _sums(models: Sequence[Trained], answers: Sequence[Tensor], targets: Tensor) -> list[float]:
    """Returns of a batch: its scored predictions, sums of each loss, and of the disagreement."""
    known = targets != UNKNOWN
    count = int(known.sum())
    if not count:
        return [0.0] * (len(answers) + 2)
    answers, targets = [logs[known] for logs in answers], targets[known]
    comm, task = Alone(), models[0].task
    losses = [metrics_of(task)["loss"] for _ in answers]
    for loss, logs in zip(losses, answers, strict=True):
        loss.add(logs, targets)
    apart = divergence()
    for one in answers[:-1]:
        for other in answers[:-1]:
            if one is not other:
                apart.add(one, other)
    values = [*(loss.value(comm) for loss in losses), apart.value(comm)]
    return [count, *(count * value for value in values)]


def _interval(sums: Floats, counts: Floats) -> tuple[float | None, float | None]:
    """Returns the 95% interval of a ratio of sums, by the jackknife over batches."""
    count = len(sums)
    if count < 2:
        return None, None
    left = (sums.sum() - sums) / (counts.sum() - counts)
    error = np.sqrt((count - 1) / count * np.square(left - left.mean()).sum())
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2) * error)
    ratio = float(sums.sum() / counts.sum())
    return ratio - half, ratio + half
