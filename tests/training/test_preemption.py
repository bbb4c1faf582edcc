"""When a group stops, on three real ranks."""

from conftest import MpiRun


def test_all_ranks_stop_at_the_same_step_and_none_waits(fast_mpirun: MpiRun) -> None:
    done = fast_mpirun(3, "preemption.py", timeout=60)
    assert done.stdout.count(" ok") == 3
