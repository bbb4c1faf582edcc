"""The weight of the distillation term: off, up, stable, down."""

import pytest

from hvcod.codistill.schedule import Schedule
from hvcod.config import CodistillOptions
from hvcod.errors import UsageError

OFF_UP_STABLE_DOWN = [0, 0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 2, 1, 0]


def weights(steps: int, ramp: int = 0, decay: float = 0.0) -> list[float]:
    options = CodistillOptions(
        burn_in=2, distill_weight=4.0, distill_ramp=ramp, distill_decay=decay
    )
    schedule = Schedule(options, steps)
    return [schedule.weight(step) for step in range(1, steps + 1)]


def test_by_default_it_is_off_and_then_on() -> None:
    assert weights(5) == [0, 0, 4, 4, 4]


def test_it_grows_after_the_burn_in_and_falls_over_the_last_share() -> None:
    assert weights(20, ramp=4, decay=0.2) == OFF_UP_STABLE_DOWN


def test_the_smaller_counts_where_rise_and_fall_overlap() -> None:
    assert weights(6, ramp=8, decay=1.0) == [0, 0, 0.5, 1.0, 4 / 6, 0]


def test_it_stays_zero_when_a_run_goes_on_beyond_its_steps() -> None:
    assert Schedule(CodistillOptions(burn_in=0, distill_decay=0.5), 4).weight(6) == 0


def test_a_fall_needs_the_steps_of_the_run() -> None:
    with pytest.raises(
        UsageError, match=r"distill_decay=0\.2 is a share of the run's steps.*steps="
    ):
        Schedule(CodistillOptions(distill_decay=0.2), None)
    assert Schedule(CodistillOptions(distill_ramp=5, burn_in=0), None).weight(1) == 0.2
