"""What `hvcod` offers to a script, in a world of one process."""

import os
import subprocess
import sys
import threading

import pytest

import hvcod
from hvcod import Groups


@pytest.fixture(autouse=True)
def what_groups_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores what `Groups` sets for a script."""
    for name in ("HOROVOD_CONTROLLER", "HOROVOD_CPU_OPERATIONS", "HOROVOD_TIMELINE"):
        monkeypatch.setenv(name, "")
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)


def test_the_groups_of_other_launches_share_the_data_too() -> None:
    groups = [Groups(3, only=index) for index in range(3)]
    assert [(each.shard, each.shards) for each in groups] == [(0, 3), (1, 3), (2, 3)]
    assert len({each.seed(1) for each in groups}) == 3


def test_horovod_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_CONTROLLER", "gloo")
    monkeypatch.setenv("HOROVOD_TIMELINE", "/a/time.json")
    Groups(2, only=1)
    assert os.environ["HOROVOD_CONTROLLER"] == "mpi"
    assert os.environ["HOROVOD_TIMELINE"] == "/a/time.group-1.json"


def test_the_names_are_there_and_cost_nothing_until_they_are_used() -> None:
    assert [name for name in hvcod.__all__ if not hasattr(hvcod, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'Teachers'"):
        hvcod.__getattr__("Teachers")
    program = "import sys, hvcod; print([m for m in ('torch', 'mpi4py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
