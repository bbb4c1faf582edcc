"""Predictions on other scales, as probabilities."""

import numpy as np

from hvcod.churn.files.rows import Array


def probabilities(values: Array, scale: str) -> Array:
    """Returns predictions, [N] or [N, classes], as probabilities.

    Args:
        scale: ``probability``, ``percent``, ``logit`` (of class 1, or one for each class) or
            ``log``: natural logarithms of probabilities.
    """
    if scale == "percent":
        return np.asarray(values / 100)
    if scale == "log":
        return np.asarray(np.exp(values))
    if scale == "logit" and values.ndim > 1:
        with np.errstate(invalid="ignore"):  # infinite logits become NaN, which is reported
            powers = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    # 1 / (1 + exp(-x)), without overflow.
    return np.asarray((1 + np.tanh(values / 2)) / 2) if scale == "logit" else values
