"""Directory operations of a group in an interval: the same however many groups there are."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster.plan.simulation import Load, simulate

from hvcod.cluster.plan.plan import PUBLISHING_OPERATIONS, operations


@pytest.fixture(scope="module")
def loads(scale: Callable[[int, int], int]) -> dict[tuple[str, int], Load]:
    settings = [("ring", scale(4, 64)), ("ring", scale(12, 256)), ("full", scale(6, 32))]
    processes, seconds = scale(1, 2), scale(1, 10)

    def load(setting: tuple[str, int]) -> Load:
        topology, groups = setting
        return simulate(groups, topology, processes=processes, intervals=2, seconds=seconds)

    # They wait for most of the time: every day side by side.
    with ThreadPoolExecutor(max_workers=scale(len(settings), 1)) as pool:
        return dict(zip(settings, pool.map(load, settings), strict=True))


def test_a_group_asks_as_little_among_many_as_among_few(
    loads: dict[tuple[str, int], Load],
) -> None:
    few, many = (load for (topology, _), load in loads.items() if topology == "ring")
    assert many.groups > few.groups
    for load in (few, many):
        # A rename, an unlink, a listing, ...: none of them more often than once or twice.
        published = load.publishing["rename"]
        assert sum(load.publishing.values()) / published == pytest.approx(
            PUBLISHING_OPERATIONS, abs=0.5
        )
        assert load.loaded / published == pytest.approx(1, abs=0.3)
    # By chance the groups' moments lie differently, and with them how often a teacher is late.
    assert many.operations < 1.5 * few.operations


def test_no_more_is_asked_than_is_planned(
    loads: dict[tuple[str, int], Load], scale: Callable[[int, int], int]
) -> None:
    for load in loads.values():
        assert load.operations <= operations(load.teachers, scale(1, 10)) * 1.1


def test_with_topology_full_it_grows_with_the_teachers(
    loads: dict[tuple[str, int], Load],
) -> None:
    (full,) = (load for load in loads.values() if load.topology == "full")
    ring = next(load for load in loads.values() if load.topology == "ring")
    assert full.teachers == full.groups - 1
    a_teacher = sum(ring.polling.values())
    assert sum(full.polling.values()) > full.teachers * a_teacher / 3
