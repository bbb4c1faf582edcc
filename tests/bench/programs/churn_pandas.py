"""What one would write with pandas and numpy to compare predictions: the bench's comparison.

Merges files of ids, predictions and labels by id, then computes of each model log loss, accuracy
and calibration, and of each pair churn, disagreement, good and bad churn, quantiles of the
differences and Spearman's rank correlation. Prints the churn of each pair.
"""

import sys
from itertools import combinations
from typing import Any

import h5py
import numpy as np
import pandas as pd

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
BINS = 15


def read(path: str, number: int) -> pd.DataFrame:
    with h5py.File(path) as file:
        columns = {"id": file["id"][:], f"p{number}": file["prediction"][:]}
        if number == 0:
            columns["label"] = file["label"][:]
    return pd.DataFrame(columns)


def model(predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    clipped = np.clip(predicted, 1e-7, 1 - 1e-7)
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, predicted, BINS) - np.bincount(bins, label, BINS)
    return {
        "log_loss": float(-np.where(label, np.log(clipped), np.log(1 - clipped)).mean()),
        "accuracy": float(((predicted >= 0.5) == label).mean()),
        "calibration": float(predicted.mean() - label.mean()),
        "calibration_error": float(np.abs(gaps).sum() / len(label)),
    }


def pair(old: np.ndarray, new: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    difference = np.abs(old - new)
    right = (old >= 0.5) == label, (new >= 0.5) == label
    return {
        "churn": float(difference.mean(dtype=np.float64)),
        "disagreement": float(((old >= 0.5) != (new >= 0.5)).mean()),
        "good_churn": float((~right[0] & right[1]).mean()),
        "bad_churn": float((right[0] & ~right[1]).mean()),
        "quantiles": np.quantile(difference, QUANTILES),
    }


def compare(paths: list[str]) -> list[float]:
    table = read(paths[0], 0)
    for number, path in enumerate(paths[1:], start=1):
        table = table.merge(read(path, number), on="id", how="inner", validate="one_to_one")
    names = [f"p{number}" for number in range(len(paths))]
    label = table["label"].to_numpy() == 1
    predictions = [table[name].to_numpy() for name in names]
    models = [model(predicted, label) for predicted in predictions]
    pairs = [pair(old, new, label) for old, new in combinations(predictions, 2)]
    correlations = table[names].corr(method="spearman")
    assert len(models) == len(correlations)
    return [float(each["churn"]) for each in pairs]


if __name__ == "__main__":
    print(*compare(sys.argv[1:]))
