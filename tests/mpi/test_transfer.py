"""Teacher weights are transferred inside a group of three real ranks, one of which is slow."""

from conftest import MpiRun


def test_every_rank_switches_to_every_update_at_the_same_call(fast_mpirun: MpiRun) -> None:
    done = fast_mpirun(3, "transfer.py", "updates", "faults")
    assert done.stdout.count(" ok") == 3


def test_the_end_does_not_wait_in_vain_for_an_update(fast_mpirun: MpiRun) -> None:
    # Announced by the very last call, or by the one before it, so that it travels.
    done = fast_mpirun(3, "transfer.py", 0, 1)
    assert done.stdout.count(" ok") == 3
