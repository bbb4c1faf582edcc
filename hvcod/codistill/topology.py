"""Who teaches whom (paper, section 4: "other topologies")."""

from hvcod.errors import UsageError


def teachers_of(group: int, groups: int, topology: str) -> list[int]:
    """The groups that teach a group.

    ``full``: all others. ``ring``: the one before it. ``pairs``: its partner, 0 with 1, 2 with 3.

    Raises:
        UsageError: Pairs of an odd number of groups.
    """
    if groups == 1:
        return []
    if topology == "ring":
        return [(group - 1) % groups]
    if topology == "pairs":
        if groups % 2:
            raise UsageError(f"topology pairs: {groups} groups do not form pairs; use ring or full")
        return [group ^ 1]
    return [other for other in range(groups) if other != group]
