"""The folders of a run's groups, and the folder that several paths share."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

MOST_GROUPS = 10_000
"""The largest number of groups of a run."""

_GROUP = re.compile(r"group-(0|[1-9][0-9]{0,3})")


def group_folder(run: Path, group: int) -> Path:
    """Returns the folder of a group."""
    return run / f"group-{group}"


def groups_in(names: Iterable[str]) -> list[int]:
    """Returns the groups whose folders have such names, in order.

    Other names, such as ``group-0.bak``, are those of the user's own files.
    """
    return sorted(int(match[1]) for match in map(_GROUP.fullmatch, names) if match)


def list_groups(run: Path) -> list[int]:
    """Returns the groups that have a folder in a run directory; one listing. Raises OSError."""
    return groups_in(path.name for path in run.iterdir())


def below_shared(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """Returns the deepest folder in which all paths lie, and their parts below it.

    Raises:
        ValueError: There are none, or some are absolute and others are not.
    """
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    return shared, [str(path.relative_to(shared)) for path in paths]
