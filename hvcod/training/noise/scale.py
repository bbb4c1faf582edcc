"""The simple noise scale of McCandlish et al. 2018 (arXiv 1812.06162), from readings of gradients.

The gradient of a batch of B examples is that of the loss, G, plus noise whose covariance is S / B.
The noise scale is N = tr(S) / |G|^2, in examples. Of the squared norm of a gradient the expectation
is

    E |G_B|^2 = |G|^2 + tr(S) / B,

so two batch sizes give both without bias (the paper's appendix A.1). A reading varies by a factor
of two or three, and that of |G|^2 may be negative. So both are averaged over readings, and N is the
ratio of the means, which a mean of ratios is not. Its interval is that of Fieller (1954) for a
ratio of two means: where |G|^2 cannot be told from zero, the interval has no upper end.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""The share of intervals that hold the true noise scale."""


class Reading(NamedTuple):
    """The estimates of one step.

    Attributes:
        gradient: |G|^2, without bias.
        variance: tr(S), of one example, without bias.
    """

    gradient: float
    variance: float


class NoiseScale(NamedTuple):
    """A noise scale, in examples; infinite where |G|^2 is not above zero.

    Attributes:
        scale: tr(S) / |G|^2.
        low: The lower end of its interval.
        high: The upper end, infinite if it has none.
        gradient: The mean |G|^2.
        variance: The mean tr(S).
        readings: How many there were.
    """

    scale: float
    low: float
    high: float
    gradient: float
    variance: float
    readings: int


def reading(small: float, large: float, few: float, many: float) -> Reading:
    """Returns the reading of two squared norms.

    Args:
        small: The mean squared norm of gradients of `few` examples each.
        large: The squared norm of their mean, the gradient of `many` examples.
    """
    gradient = (many * large - few * small) / (many - few)
    variance = (small - large) / (1 / few - 1 / many)
    return Reading(gradient, variance)


def scale_of(readings: Sequence[Reading]) -> NoiseScale:
    """Returns the noise scale of some independent readings, at least one, and its interval."""
    pairs = np.array(readings, dtype=np.float64)
    gradient, variance = pairs.mean(axis=0).tolist()
    low, high = _interval(pairs)
    return NoiseScale(ratio(variance, gradient), low, high, gradient, variance, len(pairs))


def ratio(variance: float, gradient: float) -> float:
    """Returns tr(S) / |G|^2, which is not negative; infinite if |G|^2 is not above zero."""
    return max(0.0, variance) / gradient if gradient > 0 else math.inf


def saving(scale: float, batch: float, times: float = 2.0) -> float:
    """Returns how many times fewer steps a batch so many times as large needs to the same loss.

    (1 + N / B) / (1 + N / (B times)): the paper's section 2.2, for learning rates that are best for
    each batch.
    """
    if math.isinf(scale):
        return times
    return (1 + scale / batch) / (1 + scale / (batch * times))


def batch_of_saving(scale: float, least: float = 1.2) -> float:
    """Returns the batch beyond which doubling it saves less than `least` (between 1 and 2)."""
    return scale * (1 - least / 2) / (least - 1)


def _interval(pairs: np.ndarray) -> tuple[float, float]:
    """Returns the ends of Fieller's interval: the ratios r for which V - r G may have mean zero."""
    count = len(pairs)
    if count < 2:
        return 0.0, math.inf
    # A quarter of a second, which only those who measure wait for.
    from scipy.special import stdtrit

    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    gradient, variance = pairs.mean(axis=0).tolist()
    (of_gradient, of_both), (_, of_variance) = np.cov(pairs, rowvar=False).tolist()
    factor = quantile**2 / count
    square = gradient**2 - factor * of_gradient
    mixed = gradient * variance - factor * of_both
    rest = variance**2 - factor * of_variance
    root = math.sqrt(max(0.0, mixed**2 - square * rest))
    if square > 0 and gradient > 0:
        return max(0.0, (mixed - root) / square), max(0.0, (mixed + root) / square)
    # |G|^2 may be zero, and every large ratio fits.
    known = square <= 0 < min(rest, variance, mixed + root)
    return (rest / (mixed + root) if known else 0.0), math.inf
