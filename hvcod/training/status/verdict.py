"""The exit code that says how runs are doing, for scripts that watch them."""

from collections.abc import Iterable

from hvcod.errors import PREEMPTED
from hvcod.training.status.collect import GroupStatus, RunStatus

WELL, CANNOT_BE_READ, PROBLEMS, SILENT, FAILED = 0, 1, 3, 4, 5

WORST_FIRST = (CANNOT_BE_READ, FAILED, SILENT, PREEMPTED, PROBLEMS, WELL)
"""The exit codes by urgency: of several groups and runs the first one counts."""

_OF_STATES = {
    "unreadable": CANNOT_BE_READ,
    "failed": FAILED,
    "silent": SILENT,
    "preempted": PREEMPTED,
    "finished": WELL,
}


def exit_code(runs: Iterable[RunStatus | None]) -> int:
    """Returns the exit code for runs, None for those that cannot be read."""
    found = {code for run in runs for code in _of_run(run)}
    return next((code for code in WORST_FIRST if code in found), WELL)


def _of_run(run: RunStatus | None) -> set[int]:
    if run is None:
        return {CANNOT_BE_READ}
    return {PROBLEMS if run.notes else WELL, *map(_of_group, run.groups)}


def _of_group(group: GroupStatus) -> int:
    """Problems of a group that has finished are over."""
    going = PROBLEMS if group.problems or group.notes else WELL
    return _OF_STATES.get(group.state, going)
