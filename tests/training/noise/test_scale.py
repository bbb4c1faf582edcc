"""The noise scale of readings whose true gradient and covariance are known."""

import math

import numpy as np
import pytest

from hvcod.training.noise.scale import (
    Reading,
    batch_of_saving,
    ratio,
    reading,
    saving,
    scale_of,
)

SIZE = 200


def readings(
    draws: np.random.Generator, count: int, scale: float, few: int, pieces: int
) -> list[Reading]:
    """Readings of normal gradients with |G|^2 = 4 and such a noise scale: tr(S) = 4 scale."""
    gradient = draws.standard_normal(SIZE)
    gradient *= 2 / np.linalg.norm(gradient)
    spread = draws.uniform(0.2, 2.0, SIZE)
    spread *= np.sqrt(4 * scale / np.square(spread).sum())
    found = []
    for _ in range(count):
        small = gradient + draws.standard_normal((pieces, SIZE)) * spread / np.sqrt(few)
        squares = np.square(small).sum(axis=1).mean(), np.square(small.mean(axis=0)).sum()
        found.append(reading(*squares, few, few * pieces))
    return found


@pytest.mark.parametrize("pieces", [2, 4])
@pytest.mark.parametrize("relative", [0.1, 1.0, 20.0])
def test_intervals_hold_the_true_noise_scale(pieces: int, relative: float) -> None:
    draws, few = np.random.default_rng(int(10 * relative) + pieces), 8
    scale = relative * few * pieces
    studies = [scale_of(readings(draws, 32, scale, few, pieces)) for _ in range(200)]
    # 95% of them; three standard deviations of such a count are 4.6%.
    assert np.mean([each.low <= scale <= each.high for each in studies]) > 0.9
    # Neither |G|^2 nor tr(S) is biased: within four standard errors.
    for values, true in (
        ([each.gradient for each in studies], 4.0),
        ([each.variance for each in studies], 4 * scale),
    ):
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - true) < 4 * error
    if relative <= 1:
        assert np.median([each.high / each.low for each in studies]) < 2


def test_a_gradient_that_cannot_be_told_from_zero_leaves_no_upper_end() -> None:
    draws = np.random.default_rng(3)
    studies = [scale_of(readings(draws, 8, 1e5, 8, 2)) for _ in range(100)]
    assert sum(math.isinf(each.high) for each in studies) > 50
    assert sum(each.low <= 1e5 <= each.high for each in studies) > 90
    assert any(each.low > 100 for each in studies)
    one = scale_of([Reading(-1.0, 5.0)])
    assert (one.scale, one.low, one.high) == (math.inf, 0.0, math.inf)
    # A significantly negative |G|^2 is chance: nothing is known.
    assert scale_of([Reading(-1.0 - 0.01 * each, 5.0) for each in range(9)])[1:3] == (0, math.inf)


def test_means_are_taken_before_the_ratio() -> None:
    found = scale_of([Reading(1.0, 30.0), Reading(3.0, 10.0)])
    assert (found.scale, found.gradient, found.variance, found.readings) == (10.0, 2.0, 20.0, 2)
    assert ratio(-1.0, 2.0) == 0.0


def test_savings_are_those_of_the_formula() -> None:
    assert saving(64, 64) == pytest.approx(2 / 1.5)
    assert saving(64, 32, 4) == pytest.approx(3 / 1.5)
    assert (saving(0.0, 8), saving(math.inf, 8)) == (1.0, 2.0)
    for least in (1.05, 1.2, 1.9):
        assert saving(100.0, batch_of_saving(100.0, least)) == pytest.approx(least)
