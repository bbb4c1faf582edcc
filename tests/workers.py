"""Several tests at a time: how many workers there are, and which tests share one.

`bin/test` calls pytest-xdist with ``-n auto --no-loadscope-reorder``. The tests of a group run one
after the other in one worker, so that it sets up once what they share. A file is a group, unless
`GROUPS` says otherwise.
"""

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent

GROUPS = {
    "cluster/jobs/*": "slurm",
    "filesystems/test_network.py": "gluster",
    "filesystems/test_owner.py": "gluster",
    "filesystems/test_step_time.py": "gluster",
    "faults/*": "faults",
    # They import MLflow, which takes a second or two.
    "training/record/trackers/*": "trackers",
    "mpi/test_trackers.py": "trackers",
}
"""Groups of several files."""

LONGEST = (
    "filesystems/*",
    "cluster/jobs/*",
    "faults/*",
    "mpi/*",
    "churn/run/*",
    "cluster/*",
    "tensorfile/*",
    "exchange/*",
    "training/*",
    "runs/*",
    "tasks/*",
    "setup/*",
)
"""Groups that start first, so that no worker is left with a long one at the end."""

MOST_WORKERS = 4
"""More would not help: the longest group takes as long as it takes."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Returns the number of workers; none, where one file is tested.

    One more than there are cores: many tests wait for a file system, a queue or a silence.
    """
    if asked := os.environ.get("HVCOD_TEST_WORKERS"):
        return int(asked)
    paths = {argument.partition("::")[0] for argument in config.args}
    if len(paths) == 1 and Path(*paths).is_file():
        return 0
    return min(len(os.sched_getaffinity(0)) + 1, MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LoadScopeScheduling":
    """Returns the scheduler that gives whole groups to the workers."""
    from xdist.scheduler import LoadScopeScheduling

    def split_scope(_: Any, nodeid: str) -> str:
        return _group(Path(nodeid.partition("::")[0]).relative_to(TESTS.name).as_posix())

    by_group = type("ByGroup", (LoadScopeScheduling,), {"_split_scope": split_scope})
    scheduler: LoadScopeScheduling = by_group(config, log)
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests for the scheduler: groups that take long first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _rank(item.path.relative_to(TESTS).as_posix()))


def _group(path: str) -> str:
    return next((group for pattern, group in GROUPS.items() if fnmatch(path, pattern)), path)


def _rank(path: str) -> int:
    matches = (fnmatch(path, pattern) for pattern in LONGEST)
    return next((rank for rank, match in enumerate(matches) if match), len(LONGEST))


def shared_folder(worker_folder: Path) -> Path:
    """Returns the folder that all workers of a test run share, given one worker's own."""
    return worker_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else worker_folder
