"""Topologies: the teachers of each group."""

import pytest

from hvcod import config
from hvcod.codistill.topology import teachers_of
from hvcod.config import CodistillOptions
from hvcod.errors import UsageError
from hvcod.registry import TOPOLOGIES


@pytest.mark.parametrize(
    ("topology", "teachers"),
    [
        ("full", [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]),
        ("ring", [[3], [0], [1], [2]]),
        ("pairs", [[1], [0], [3], [2]]),
    ],
)
def test_teachers_of_four_groups(topology: str, teachers: list[list[int]]) -> None:
    assert [teachers_of(group, 4, topology) for group in range(4)] == teachers


@pytest.mark.parametrize("topology", ["full", "ring", "pairs"])
def test_one_group_has_no_teacher(topology: str) -> None:
    assert teachers_of(0, 1, topology) == []


def test_an_odd_number_of_groups_has_no_pairs() -> None:
    with pytest.raises(UsageError, match="3 groups do not form pairs"):
        teachers_of(2, 3, "pairs")


def test_a_topology_is_one_function_and_its_registration() -> None:
    with TOPOLOGIES.added("star", lambda group, groups: [0] if group else [1]):
        options = config.resolve(CodistillOptions, [{"topology": "star"}])
        assert [teachers_of(group, 3, options.topology) for group in range(3)] == [[1], [0], [0]]
    with pytest.raises(UsageError, match="--topology star: choose one of full, ring, pairs"):
        teachers_of(0, 3, "star")
