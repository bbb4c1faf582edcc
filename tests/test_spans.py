"""The parts of a step add up to the step, whatever lies in what."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hvcod import spans
from hvcod.spans import AGREEMENT, ALLREDUCE, BACKWARD, EXCHANGE, FORWARD, PARTS, UPDATE, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock that moves on by a second whenever it is read."""
    seconds = itertools.count()
    monkeypatch.setattr(spans, "perf_counter", lambda: float(next(seconds)))
    clock = Clock()
    clock.start()
    yield clock
    clock.stop()


def lap(clock: Clock) -> dict[str, float]:
    return {name: taken for name, taken in zip(PARTS, clock.lap(), strict=True) if taken}


def test_time_in_an_inner_part_does_not_count_for_the_outer_one(clock: Clock) -> None:
    with UPDATE:
        with BACKWARD:
            pass
        with ALLREDUCE:
            pass
    assert lap(clock) == {"update": 3, "backward": 1, "allreduce": 1, "other": 2}
    with EXCHANGE, AGREEMENT, AGREEMENT:
        pass
    assert lap(clock) == {"exchange": 2, "agreement": 3, "other": 2}


def test_a_part_that_fails_is_over(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError), UPDATE, BACKWARD:
        raise ZeroDivisionError
    assert lap(clock) == {"update": 2, "backward": 1, "other": 2}


def test_groups_of_a_process_have_clocks_that_stand_still_in_turn(clock: Clock) -> None:
    other = Clock()
    clock.stop()
    other.start()
    with FORWARD:
        pass
    assert lap(other) == {"forward": 1, "other": 2}
    other.stop()
    with FORWARD:
        pass
    clock.start()
    assert lap(clock) == {"other": 3}


def test_a_profiler_sees_the_parts_as_ranges(clock: Clock) -> None:
    seen: list[str] = []

    @contextmanager
    def range_of(name: str) -> Iterator[None]:
        seen.append(f"+{name}")
        yield
        seen.append(f"-{name}")

    clock.ranges = range_of
    with UPDATE, BACKWARD:
        pass
    clock.ranges = None
    with FORWARD:
        pass
    assert seen == ["+update", "+backward", "-backward", "-update"]
