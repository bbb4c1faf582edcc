"""The intervals hold what they promise: simulated retrains whose churn is known."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from hvcod.churn.statistics import (
    Estimate,
    difference,
    of_all_pairs,
    of_independent_pairs,
    of_retrains,
    reduction,
)

Floats = npt.NDArray[np.float64]

STUDIES, ROWS = 1000, 60


def noise(rng: np.random.Generator, studies: int, retrains: int, kind: str) -> Floats:
    """What retraining adds to the predictions, [studies, retrains, ROWS]."""
    own = rng.normal(size=(studies, retrains, ROWS))
    if kind == "rows":  # every row for itself
        return own
    if kind == "directions":  # mostly a few directions that all rows share
        shared = np.random.default_rng(0).normal(size=(4, ROWS))
        return rng.normal(size=(studies, retrains, 4)) @ shared + 0.5 * own
    # Some retrains stray farther than others.
    return own * np.exp(0.3 * rng.normal(size=(studies, retrains, 1)))


def predictions(rng: np.random.Generator, studies: int, retrains: int, kind: str) -> Floats:
    logits = np.random.default_rng(1).normal(-1, 1.2, size=ROWS)
    strayed = logits + 0.3 * noise(rng, studies, retrains, kind)
    return np.asarray(1 / (1 + np.exp(-strayed)))


def churn(predicted: Floats) -> Floats:
    """Of all pairs, [studies, pairs]."""
    pairs = combinations(range(predicted.shape[1]), 2)
    return np.stack(
        [np.abs(predicted[:, a] - predicted[:, b]).mean(axis=1) for a, b in pairs], axis=1
    )


def true_churn(kind: str) -> float:
    rng = np.random.default_rng(2)
    return float(np.mean([churn(predictions(rng, 20_000, 2, kind)).mean() for _ in range(4)]))


def coverage(estimates: list[Estimate | None], truth: float) -> float:
    intervals = [each.interval for each in estimates if each and each.interval]
    assert len(intervals) == len(estimates)
    return sum(low <= truth <= high for low, high in intervals) / len(intervals)


@pytest.mark.parametrize("kind", ["rows", "directions", "strays"])
def test_the_intervals_cover_the_truth(kind: str) -> None:
    """93 to 97% of a thousand studies, for every kind of interval; all of them shown on failure."""
    truth, rng = true_churn(kind), np.random.default_rng(3)
    found: dict[str, float] = {}
    for retrains in (6, 12, 24):
        ours = churn(predictions(rng, STUDIES, retrains, kind))
        studies = list(zip(ours, np.roll(ours, 1, axis=0), strict=True))
        found |= {
            f"all pairs of {retrains}": coverage([of_all_pairs(a) for a in ours], truth),
            f"pairs of {retrains}": coverage([of_independent_pairs(a) for a in ours], truth),
            f"cut, {retrains}": coverage([reduction(0.6 * a, b) for a, b in studies], 0.4),
        }
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


def test_intervals_of_retrains_cover_the_truth() -> None:
    rng, found = np.random.default_rng(4), dict[str, float]()
    for retrains in (6, 12, 24):
        ours, theirs = (rng.normal(0.49, 0.001, size=(STUDIES, retrains)) for _ in range(2))
        found[f"mean of {retrains}"] = coverage([of_retrains(a) for a in ours], 0.49)
        pairs = zip(ours, theirs, strict=True)
        found[f"difference, {retrains}"] = coverage([difference(a, b) for a, b in pairs], 0.0)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


@pytest.mark.parametrize("retrains", [4, 5])
def test_intervals_of_few_retrains_are_wide_but_steady(retrains: int) -> None:
    """They cover the truth, and none is many times wider than another."""
    truth, ours = true_churn("rows"), churn(predictions(np.random.default_rng(7), 500, 5, "rows"))
    ours = ours if retrains == 5 else ours[:, [0, 1, 2, 4, 5, 7]]
    estimates = [of_all_pairs(a) for a in ours]
    assert coverage([*estimates], truth) >= 0.93
    widths = [float(np.diff(each.interval or (0, np.inf))[0]) for each in estimates]
    assert max(widths) < 6 * np.median(widths)
    cuts = [reduction(0.6 * a, b) for a, b in zip(ours, np.roll(ours, 1, axis=0), strict=True)]
    assert coverage(cuts, 0.4) >= 0.93


def test_all_pairs_tell_more_than_independent_ones() -> None:
    values = churn(predictions(np.random.default_rng(5), 50, 12, "rows"))
    widths = [
        np.mean([np.diff(each(study).interval or (0, np.inf)) for study in values])
        for each in (of_all_pairs, of_independent_pairs)
    ]
    assert widths[0] < 0.8 * widths[1]


def test_independent_pairs_share_no_retrain() -> None:
    # Pairs (0,1) (0,2) (0,3) (0,4) (1,2) (1,3) (1,4) (2,3) (2,4) (3,4): (0,1) and (2,3) are meant.
    estimate = of_independent_pairs([1, 9, 9, 9, 9, 9, 9, 3, 9, 9])
    assert (estimate.mean, estimate.half_range, estimate.repeats) == (2.0, 1.0, 2)


def test_equal_pairs_leave_no_doubt() -> None:
    estimate = of_all_pairs([0.03] * 15)
    assert estimate.interval == pytest.approx((0.03, 0.03))
    assert estimate.half_range == 0.0
    assert reduction([0.0] * 15, [0.0] * 15) is None


def test_the_same_figures_give_the_same_interval() -> None:
    values = churn(predictions(np.random.default_rng(6), 1, 8, "rows"))[0]
    assert of_all_pairs(values) == of_all_pairs(values)


@pytest.mark.parametrize(("pairs", "known"), [(1, False), (3, False), (6, True)])
def test_too_few_retrains_give_no_interval(pairs: int, known: bool) -> None:
    values = np.linspace(0.02, 0.03, pairs).tolist()
    assert (of_all_pairs(values).interval is not None) == known
    assert (of_independent_pairs(values).interval is not None) is False
