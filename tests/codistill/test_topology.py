"""Who teaches whom."""

import pytest

from hvcod.codistill.topology import teachers_of
from hvcod.errors import UsageError


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
