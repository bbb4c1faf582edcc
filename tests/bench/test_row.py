"""What a benchmark row says of its measurements."""

import time

import pytest
from bench.row import Row, measure_pair, summarise_pair


@pytest.mark.parametrize(
    ("target", "lower_is_better", "met"),
    [(1.5, True, True), (1.4, True, False), (1.5, False, True), (1.6, False, False)],
)
def test_met_compares_the_ratio_with_the_target(
    target: float, lower_is_better: bool, met: bool
) -> None:
    row = Row("a", 3.0, 2.0, target, lower_is_better=lower_is_better)
    shown = row.as_dict()
    assert shown["ratio"] == 1.5
    assert shown["met"] is met
    assert {"name", "measured", "reference", "ratio", "target", "met"} <= shown.keys()


def test_the_spread_is_of_ratios_taken_side_by_side() -> None:
    """A machine that is slow for a while slows both; their ratio stays."""
    pair = summarise_pair([2.0, 4.0, 20.0], [1.0, 2.0, 10.0])
    assert (pair.measured, pair.reference) == (4.0, 2.0)
    assert pair.spread == (2.0, 2.0)


def test_the_two_take_turns_after_one_unmeasured_run_each() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.01)

    pair = measure_pair(slow, lambda: order.append("fast"), repeats=3)
    assert order == ["slow", "fast"] * 4
    assert pair.measured >= 0.01 > pair.reference
