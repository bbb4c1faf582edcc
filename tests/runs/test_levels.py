"""Smoothed curves and their crossings, on curves with a known answer."""

import numpy as np
import pytest
from experiments.measuring.made import curve, line

from hvcod.errors import HvcodError
from hvcod.runs.levels import Best, best, first_reached, smoothed

V_SHAPE = curve([(10, 4.0), (20, 3.0), (30, 1.0), (40, 2.0), (50, 3.0)])


def test_a_point_is_averaged_with_its_neighbours() -> None:
    found = smoothed(V_SHAPE)
    assert found.steps.tolist() == [20, 30, 40]
    assert found.values.tolist() == pytest.approx([8 / 3, 2.0, 2.0])


def test_a_straight_line_stays_where_it_is() -> None:
    straight = line(9.0, -0.01, steps=300)
    assert np.allclose(smoothed(straight).values, straight.values[1:-1])


def test_too_few_points_are_refused() -> None:
    with pytest.raises(HvcodError, match="2 validations"):
        smoothed(curve([(10, 1.0), (20, 0.5)]))


def test_the_best_point_is_the_first_of_equal_ones() -> None:
    assert best(V_SHAPE) == Best(30, 1.0)
    assert best(curve([(10, 2.0), (20, 1.0), (30, 1.0)])) == Best(20, 1.0)


@pytest.mark.parametrize(
    ("level", "step"),
    [
        (2.5, 22.5),  # between two points
        (3.0, 20.0),  # at a point
        (1.0, 30.0),  # the lowest point
        (4.0, 10.0),  # at the first point
        (9.0, 10.0),  # above the first point
        (0.9, None),  # never
    ],
)
def test_the_first_crossing_of_a_piecewise_linear_curve(level: float, step: float | None) -> None:
    assert first_reached(V_SHAPE, level) == (None if step is None else pytest.approx(step))


def test_the_first_of_several_crossings_counts() -> None:
    wave = curve([(0, 3.0), (10, 1.0), (20, 3.0), (30, 0.0)])
    assert first_reached(wave, 2.0) == pytest.approx(5.0)
