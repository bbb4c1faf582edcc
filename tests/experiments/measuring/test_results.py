"""Tuning on one part and reporting on the other, and arms compared by seed."""

import math

import numpy as np
import pytest
from experiments.measuring.made import curve, line, readings

from hvcod.errors import HvcodError
from hvcod.experiments.measuring.readings import PARTS, Readings
from hvcod.experiments.measuring.results import compare, mean_and_range, score, weights_of

SEEDS = (1, 2, 3)


def test_the_candidate_is_chosen_on_one_part_and_reported_on_the_other() -> None:
    """`lucky` is better on the reporting part, which must not decide."""
    runs = {
        "good": {s: readings(line(5.0, -0.001, 100), selection=line(4.0, 0, 100)) for s in SEEDS},
        "lucky": {s: readings(line(1.0, -0.001, 100), selection=line(4.5, 0, 100)) for s in SEEDS},
    }
    found = score("tuned", runs, "raw")
    assert found.candidate == "good"
    assert found.choices == pytest.approx({"good": 4.0, "lucky": 4.5})
    assert found.best.mean == pytest.approx(5.0 - 0.001 * 90)


def test_the_mean_over_seeds_decides_not_the_best_seed() -> None:
    runs = {
        "steady": {s: readings(line(3.0, 0, 100)) for s in SEEDS},
        "lucky once": {s: readings(line(2.0 if s == 1 else 4.0, 0, 100)) for s in SEEDS},
    }
    assert score("tuned", runs, "raw").candidate == "steady"


def test_raw_and_averaged_weights_have_a_candidate_of_their_own() -> None:
    high, low = line(4.0, 0, 100), line(3.0, 0, 100)
    lower = line(2.0, 0, 100)
    runs = {
        "slow": {1: readings(low, average=low)},
        "fast": {
            1: readings(high, average=lower, average_selection=list(zip(*lower, strict=True)))
        },
    }
    raw, average, best = (score("a", runs, weights) for weights in ("raw", "average", "best"))
    assert (raw.candidate, average.candidate) == ("slow", "fast")
    assert (best.weights, best.candidate) == ("average", "fast")


def test_a_candidate_that_diverged_is_not_chosen() -> None:
    broken = {1: readings(line(0.0, 0, 100)), 2: readings(curve([(10, 0.0)]))}
    whole = {s: readings(line(3.0, 0, 100)) for s in (1, 2)}
    found = score("tuned", {"high rate": broken, "low rate": whole}, "raw")
    assert found.candidate == "low rate"
    assert found.choices["high rate"] == math.inf
    # What a run that diverged did not validate does not matter.
    never = Readings({("raw", part): curve([]) for part in PARTS}, 1, curve([]), curve([]), None)
    assert weights_of({"high rate": {1: never}, "low rate": whole}) == ["raw", "average"]
    with pytest.raises(HvcodError, match="every candidate diverged"):
        score("tuned", {"high rate": broken}, "raw")


def test_the_speed_up_of_lines_of_known_slope() -> None:
    """The baseline falls from 9 to 3.1 by its last smoothed step, 590; the arm is twice as fast."""
    slow = score("slow", {"": {1: readings(line(9.0, -0.01, 600))}}, "raw")
    fast = score("fast", {"": {1: readings(line(9.0, -0.02, 600))}}, "raw")
    found = compare(fast, slow)
    assert found.reached[1] == pytest.approx(295.0)
    assert found.speedup.values == pytest.approx((2.0,))
    assert found.gain.mean == pytest.approx(590 * 0.01)
    assert found.final_gain.mean == pytest.approx(600 * 0.01)


def test_an_arm_that_never_gets_there_has_a_bound() -> None:
    slow = {s: readings(line(9.0, -0.01, 600)) for s in SEEDS}
    never = {s: readings(line(9.0, -0.01 if s == 1 else -0.001, 600)) for s in SEEDS}
    found = compare(score("never", {"": never}, "raw"), score("slow", {"": slow}, "raw"))
    assert found.reached[2] is found.reached[3] is None
    assert found.speedup.missed == 2
    assert found.speedup.values == pytest.approx((1.0, 1.0, 1.0))
    # The widest is that of the speed-ups 1, 1 and 0: 2/3 + 4.303 / 3.
    assert found.speedup.interval == pytest.approx((0.0, 2.1009), abs=1e-4)


def test_an_arm_compared_with_itself_is_as_fast() -> None:
    rng = np.random.default_rng(0)
    noisy = {s: readings([(k, float(v)) for k, v in enumerate(rng.normal(size=30))]) for s in SEEDS}
    arm = score("arm", {"": noisy}, "raw")
    found = compare(arm, arm)
    assert found.speedup.values == (1.0, 1.0, 1.0)
    assert found.gain.values == (0.0, 0.0, 0.0)


def test_only_seeds_that_both_arms_have_are_paired() -> None:
    first = score("a", {"": {s: readings(line(3.0, -0.001, 60)) for s in (1, 2)}}, "raw")
    second = score("b", {"": {s: readings(line(3.0, -0.001, 60)) for s in (2, 3)}}, "raw")
    assert list(compare(first, second).reached) == [2]
    third = score("c", {"": {9: readings(line(3.0, -0.001, 60))}}, "raw")
    with pytest.raises(HvcodError, match="no seed in common"):
        compare(first, third)


def test_of_an_accuracy_more_is_better() -> None:
    up, higher = line(0.2, 0.001, 300), line(0.2, 0.002, 300)
    low = score("low", {"": {1: readings(up, sign=-1)}}, "raw")
    high = score("high", {"": {1: readings(higher, sign=-1)}}, "raw")
    assert low.best.mean == pytest.approx(0.49)
    assert low.final.mean == pytest.approx(0.50)
    found = compare(high, low)
    assert found.speedup.mean == pytest.approx(2.0)
    assert found.final_gain.mean == pytest.approx(0.3)


def test_steps_of_teachers_count_as_made_before() -> None:
    run = {"": {1: readings(line(9.0, -0.01, 600))}}
    alone, taught = score("alone", run, "raw"), score("taught", run, "raw", begins_at=590)
    assert taught.best_step.mean == 1180
    assert compare(taught, alone).speedup.mean == pytest.approx(0.5)


def test_the_band_of_seeds_lies_at_the_steps_that_all_have() -> None:
    mean, low, high = mean_and_range(
        [curve([(10, 1.0), (20, 2.0)]), curve([(10, 3.0), (20, 4.0), (30, 9.0)])]
    )
    assert mean.steps.tolist() == [10, 20]
    assert [each.values.tolist() for each in (mean, low, high)] == [[2, 3], [1, 2], [3, 4]]
