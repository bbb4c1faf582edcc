"""Topologies: who teaches whom (paper, section 4: "other topologies")."""

from hvcod.errors import UsageError
from hvcod.registry import TOPOLOGIES


def teachers_of(group: int, groups: int, topology: str) -> list[int]:
    """Returns the groups that teach a group, one of `groups`; none if it is the only one.

    Raises:
        UsageError: There is no such topology, or it does not fit the number of groups.
    """
    return TOPOLOGIES.load(topology)(group, groups) if groups > 1 else []


def full(group: int, groups: int) -> list[int]:
    """Returns all other groups."""
    return [other for other in range(groups) if other != group]


def ring(group: int, groups: int) -> list[int]:
    """Returns the group before this one."""
    return [(group - 1) % groups]


def pairs(group: int, groups: int) -> list[int]:
    """Returns the partner of a group: 0 and 1 teach each other, 2 and 3, and so on.

    Raises:
        UsageError: The number of groups is odd.
    """
    if groups % 2:
        raise UsageError(f"topology pairs: {groups} groups do not form pairs; use ring or full")
    return [group ^ 1]
