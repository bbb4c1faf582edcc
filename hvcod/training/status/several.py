"""The status of several runs, of which some cannot be read."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hvcod.errors import HvcodError
from hvcod.training.status.collect import RunStatus, collect

Found = Mapping[Path, RunStatus | HvcodError]
"""{run: its status, or why it cannot be read}."""

_AT_ONCE = 8


def collect_all(runs: Sequence[Path]) -> Found:
    """Returns the status of each run, some of them read at the same time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(runs, pool.map(_collected, runs), strict=True))


def _collected(run: Path) -> RunStatus | HvcodError:
    try:
        return collect(run)
    except HvcodError as error:
        return error


def readable(found: Found) -> dict[Path, RunStatus | None]:
    """Returns {run: its status, or None if it cannot be read}."""
    return {run: each if isinstance(each, RunStatus) else None for run, each in found.items()}


def errors(found: Found) -> list[HvcodError]:
    """Returns why runs cannot be read, of those that cannot."""
    return [each for each in found.values() if isinstance(each, HvcodError)]


def are_finished(found: Found) -> bool:
    """Returns whether all groups of all runs are finished."""
    return all(
        isinstance(each, RunStatus) and {group.state for group in each.groups} == {"finished"}
        for each in found.values()
    )
