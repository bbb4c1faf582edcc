"""Several tests at a time: how many workers there are, and which tests share one.

`bin/test` calls pytest-xdist with ``-n auto --dist loadgroup --no-loadscope-reorder``. Tests of one
group run one after the other in one worker; by default a file is a group.
"""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

SHARED = {"slurm": "slurm", "volume": "gluster"}
"""Fixtures that are expensive to set up, and the group of all tests that use them."""

FOLDERS = {"faults": "faults"}
"""Folders whose tests are one group."""

LONGEST = (
    "filesystems",
    "cluster/jobs",
    "faults",
    "mpi",
    "churn/run",
    "cluster",
    "training",
    "tasks/commoncrawl",
    "exchange",
    "setup",
)
"""Folders whose tests are started first, so that no worker is left with a long group at the end."""

MOST_WORKERS = 4
"""More would not help: the longest group takes as long as it takes."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Returns the number of workers; none, where one file is tested."""
    if asked := os.environ.get("HVCOD_TEST_WORKERS"):
        return int(asked)
    paths = {argument.partition("::")[0] for argument in config.args}
    if len(paths) == 1 and Path(*paths).is_file():
        return 0
    return max(1, min(len(os.sched_getaffinity(0)), MOST_WORKERS))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the tests and marks each one with its group, if there are several workers."""
    if config.getoption("loadgroup", False):
        items.sort(key=lambda item: (_rank(item.path), _group(item)))
        for item in items:
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    path = item.path.relative_to(TESTS)
    shared = [group for fixture, group in SHARED.items() if fixture in fixtures]
    folders = [group for folder, group in FOLDERS.items() if path.is_relative_to(folder)]
    return next(iter([*shared, *folders, path.as_posix()]))


def _rank(path: Path) -> int:
    matches = (path.is_relative_to(TESTS / folder) for folder in LONGEST)
    return next((rank for rank, match in enumerate(matches) if match), len(LONGEST))


def shared_folder(worker_folder: Path) -> Path:
    """Returns the folder that all workers of a test run share, given one worker's own."""
    return worker_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else worker_folder
