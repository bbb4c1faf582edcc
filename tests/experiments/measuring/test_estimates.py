"""The intervals over seeds cover what they promise to, and seeds that only have a bound count."""

import math

import numpy as np
import pytest
from experiments.measuring.made import line, readings

from hvcod.experiments.measuring.estimates import Estimate, over_seeds
from hvcod.experiments.measuring.results import compare, score
from hvcod.runs.curves import Curve

STUDIES = 400
TRUTH = 1.7


def coverage(studies: list[tuple[float, float] | None], truth: float = TRUTH) -> float:
    known = [interval for interval in studies if interval]
    assert len(known) == len(studies)
    return sum(low <= truth <= high for low, high in known) / len(known)


@pytest.mark.parametrize("seeds", [3, 5, 6, 8])
def test_the_interval_covers_the_mean_of_few_seeds(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    studies = [over_seeds(rng.normal(TRUTH, 0.1, seeds).tolist()) for _ in range(STUDIES)]
    assert 0.92 <= coverage([each.interval for each in studies]) <= 0.99
    # The reason why it is not the percentile bootstrap.
    assert coverage([each.bootstrap for each in studies]) < 0.92


def test_the_percentile_bootstrap_covers_the_mean_of_many_seeds() -> None:
    rng = np.random.default_rng(1)
    studies = [over_seeds(rng.normal(TRUTH, 0.1, 30).tolist()) for _ in range(STUDIES // 2)]
    assert 0.91 <= coverage([each.bootstrap for each in studies]) <= 0.97


def test_one_or_two_seeds_have_no_interval() -> None:
    assert over_seeds([2.0]) == Estimate((2.0,), (False,), 2.0, None, None)
    pair = over_seeds([1.0, 3.0])
    assert (pair.mean, pair.interval) == (2.0, None)
    assert pair.bootstrap == pytest.approx((1.0, 3.0))


def test_three_seeds_have_students_interval() -> None:
    # 4.303 is the 97.5% quantile of Student's distribution with two degrees of freedom.
    found = over_seeds([1.80, 1.65, 1.81]).interval
    reach = 4.30265 * math.sqrt(0.0080333) / math.sqrt(3)
    assert found == pytest.approx((1.75333 - reach, 1.75333 + reach), abs=1e-4)


def test_a_censored_seed_may_lie_anywhere_below_its_bound() -> None:
    values = [0.9, 0.8, 0.7]
    sure, bounded = over_seeds(values), over_seeds(values, [False, False, True])
    assert sure.interval
    assert bounded.interval
    assert bounded.missed == 1
    assert bounded.interval[0] == 0.0  # no speed-up is negative
    # If the seed never reached the level, the seeds would differ so much that the mean might be
    # higher than that of three that just missed it.
    far_apart = over_seeds([0.9, 0.8, 0.0]).interval
    assert far_apart and far_apart[1] > sure.interval[1]
    assert bounded.interval[1] == far_apart[1]


@pytest.mark.parametrize("seeds", [4, 6])
def test_no_values_of_censored_seeds_make_a_wider_interval(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    values, marks = rng.uniform(0.8, 1.2, seeds), [True] * 3 + [False] * (seeds - 3)
    found = over_seeds(values.tolist(), marks).interval
    assert found
    for _ in range(200):
        share = rng.choice([0.0, 1.0, rng.uniform()], 3)
        tried = over_seeds([*(values[:3] * share), *values[3:]]).interval
        assert tried
        assert found[0] <= max(0.0, tried[0]) and tried[1] <= found[1] + 1e-12


def test_of_many_censored_seeds_the_extreme_combinations_count() -> None:
    values = np.linspace(0.8, 1.2, 14)
    found = over_seeds(values.tolist(), [True] * 14).interval
    assert found
    for missed in range(14):
        for chosen in (values.argsort()[:missed], values.argsort()[::-1][:missed]):
            tried = values.copy()
            tried[chosen] = 0.0
            interval = over_seeds(tried.tolist()).interval
            assert interval and interval[1] <= found[1] + 1e-12


def exponential(speed: float, rng: np.random.Generator) -> Curve:
    steps = np.arange(25, 1801, 25)
    return Curve(steps, 3 + 2 * np.exp(-speed * steps / 500) + rng.normal(0, 2e-4, len(steps)))


@pytest.mark.parametrize("seeds", [3, 6])
def test_the_speed_up_of_noisy_curves_covers_the_known_ratio(seeds: int) -> None:
    """The pace differs from seed to seed by 20% for both arms, and the ratio by 5%."""
    rng, studies = np.random.default_rng(seeds), []
    for _ in range(60):
        slow, fast = {}, {}
        for seed in range(seeds):
            pace = rng.uniform(0.8, 1.2)
            slow[seed] = readings(exponential(pace, rng))
            fast[seed] = readings(exponential(pace * TRUTH * rng.normal(1, 0.05), rng))
        ours, theirs = (score("arm", {"": runs}, "raw") for runs in (fast, slow))
        studies.append(compare(ours, theirs).speedup)
    assert not any(study.missed for study in studies)
    assert coverage([study.interval for study in studies]) >= 0.88
    assert np.mean([study.mean for study in studies]) == pytest.approx(TRUTH, rel=0.02)


def test_pairing_by_seed_removes_what_seeds_have_in_common() -> None:
    """Seeds of very different pace whose ratio is 2 each: nothing is left to be unsure about."""
    slow = {seed: readings(line(9.0, -0.01 / seed, 600)) for seed in (1, 2, 3)}
    fast = {seed: readings(line(9.0, -0.02 / seed, 600)) for seed in (1, 2, 3)}
    found = compare(score("fast", {"": fast}, "raw"), score("slow", {"": slow}, "raw")).speedup
    assert found.values == pytest.approx((2.0, 2.0, 2.0))
    assert found.interval == pytest.approx((2.0, 2.0))
