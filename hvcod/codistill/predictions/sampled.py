"""Sampled predictions: a few classes of each predictive distribution, and their weights.

A distribution over a large vocabulary is too large to store or to send for every token. Sampled
without bias (Anshumann et al. 2025, "Sparse Logit Sampling", arXiv 2503.16870), it is a sparse
target whose expectation is the whole distribution; as the cross entropy is linear in its target,
the expected loss and the expected gradient are those of the whole distribution too.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvcod.codistill.projected import Projected, computed
from hvcod.codistill.rows import precision_of
from hvcod.errors import HvcodError

_CHUNK = 2**22
"""Probabilities that are computed at once, in float64."""


@dataclass(frozen=True)
class Sampled:
    """A few classes of each predictive distribution and their weights, which sum to 1.

    It stands where a teacher's logits stand, so it is sliced and shaped like them.

    Attributes:
        indices: The classes, int64 [..., k]; a class may come several times, its weights add up.
        weights: [..., k], of a floating type.
        classes: The number of all classes.
        temperature: The temperature of the distributions.
    """

    indices: Tensor
    weights: Tensor
    classes: int
    temperature: float = 1.0

    @property
    def shape(self) -> torch.Size:
        """The shape of the logits in whose place it stands: [..., classes]."""
        return torch.Size([*self.indices.shape[:-1], self.classes])

    @property
    def dtype(self) -> None:
        """None: there are no logits, whose memory a loss could use."""
        return None

    def detach(self) -> "Sampled":
        """Returns itself: no gradient flows into it."""
        return self

    def clone(self) -> "Sampled":
        """Returns itself: no loss overwrites it."""
        return self

    def reshape(self, shape: Sequence[int]) -> "Sampled":
        """Returns the same predictions in the shape of other logits, [..., classes]."""
        shape = (*shape[:-1], self.indices.shape[-1])
        return self._with(self.indices.reshape(shape), self.weights.reshape(shape))

    def to(self, device: torch.device) -> "Sampled":
        """Returns the same predictions on another device."""
        indices = self.indices.to(device, non_blocking=True)
        return self._with(indices, self.weights.to(device, non_blocking=True))

    def __getitem__(self, rows: slice) -> "Sampled":
        return self._with(self.indices[rows], self.weights[rows])

    def dense(self, precision: torch.dtype) -> Tensor:
        """Returns distributions with a number for every class, in the shape of the logits."""
        dense = self.weights.new_zeros(self.shape, dtype=precision)
        return dense.scatter_add_(-1, self.indices, self.weights.to(precision))

    def _with(self, indices: Tensor, weights: Tensor) -> "Sampled":
        return dataclasses.replace(self, indices=indices, weights=weights)


Prediction = Tensor | Sampled
"""The answer of a teacher: its logits, or sampled predictions in their place."""

AnyPrediction = Prediction | Projected
"""The same, or what the logits are computed from."""


def distribution(prediction: Prediction, precision: torch.dtype, temperature: float) -> Tensor:
    """Returns the predictive distributions of a teacher, [..., classes].

    Raises:
        HvcodError: They were sampled at another temperature.
    """
    if isinstance(prediction, Sampled):
        if prediction.temperature != temperature:
            sampled = f"predictions were sampled at the temperature {prediction.temperature:g}"
            raise HvcodError(f"{sampled}: --temperature {temperature:g} cannot use them")
        return prediction.dense(precision)
    return torch.softmax(softened(prediction, temperature), dim=-1, dtype=precision)


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Returns logits divided by the temperature, in float32 at least unless that is 1."""
    return logits if temperature == 1 else logits.to(precision_of(logits)) / temperature


def whole(prediction: AnyPrediction, user: str) -> Tensor:
    """Returns logits.

    Raises:
        HvcodError: They are sampled, which their user, such as ``--distill-loss kl``, cannot take.
    """
    if isinstance(prediction, Sampled):
        raise HvcodError(
            f"{user} needs the logits of all classes, of which a teacher gives a "
            "sample: use cross-entropy (whose gradient is that of kl), or whole predictions"
        )
    return computed(prediction)


def magnitude(prediction: AnyPrediction) -> Tensor:
    """Returns the largest magnitude, a scalar of float32 at least; NaN if one element is."""
    tensor = prediction.weights if isinstance(prediction, Sampled) else computed(prediction)
    if not tensor.numel():
        return tensor.new_zeros((), dtype=torch.float32)
    # In one pass and without a temporary, unlike isfinite().all(): 30 times as fast on a CPU.
    low, high = torch.aminmax(tensor.detach())
    size = torch.maximum(-low, high)
    return size.to(torch.promote_types(size.dtype, torch.float32))


def offsets(count: int, *seed: int) -> npt.NDArray[np.float64]:
    """Returns random numbers in [0, 1) that follow from a seed, in later NumPy versions too."""
    random = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.asarray((random >> np.uint64(11)) * 2.0**-53)


def sample(
    logits: Tensor, k: int, offsets: npt.NDArray[np.float64], temperature: float = 1.0
) -> Tensor:
    """Draws k classes of each predictive distribution, with replacement; each weighs 1/k.

    A class with probability p is drawn k p times in expectation: the sample is unbiased. Its points
    are k equidistant ones of the cumulative distribution behind a random first one (systematic
    sampling), which leaves a class off by less than one draw; the independent draws of the paper
    have the same expectation and a larger variance.

    Args:
        logits: [N, classes].
        offsets: A random number in [0, 1) for each prediction, such as those of `offsets`.

    Returns:
        Classes, int64 [N, k], ascending.
    """
    steps = torch.arange(k, dtype=torch.float64)
    points = ((torch.from_numpy(offsets)[:, None] + steps) / k).to(logits.device)
    drawn = torch.empty(len(logits), k, dtype=torch.int64, device=logits.device)
    size = max(1, _CHUNK // logits.shape[1])
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        reached = torch.softmax(softened(logits[rows].double(), temperature), dim=-1).cumsum(dim=-1)
        # A point at the edge of a class belongs to the next one: none without probability is drawn.
        torch.searchsorted(reached, points[rows] * reached[:, -1:], right=True, out=drawn[rows])
    return drawn.clamp_(max=logits.shape[1] - 1)


def top(logits: Tensor, k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Returns the k likeliest classes of each distribution and their weights, both [N, k].

    Weights are probabilities, scaled to sum to 1. That is biased: all other classes get nothing,
    so a student becomes too sure of these. Without scaling it would learn the same, as its own
    probabilities sum to 1 (arXiv 2503.16870).
    """
    probabilities = torch.softmax(softened(logits.float(), temperature), dim=-1)
    weights, indices = probabilities.topk(k, dim=-1)
    return indices, weights / weights.sum(dim=-1, keepdim=True)
