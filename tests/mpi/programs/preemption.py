"""Asserts, on every rank of a group, when the group stops."""

from hvcod.errors import GroupFailedError
from hvcod.groups.communicator import of_mpi
from hvcod.groups.split import split
from hvcod.groups.world import world
from hvcod.training.preemption import Preemption
from hvcod.training.signals import StopSignals

group = split(world())
last = group.size - 1
OTHER = "a signal to another rank"


def begun(steps: int, time_limit: float | None = None) -> tuple[Preemption, StopSignals]:
    """A training that has made some steps and been told nothing."""
    signals = StopSignals()
    preemption = Preemption(group, signals, time_limit, lambda: 0.0)
    for _ in range(steps):
        assert preemption.reason() == ""
    return preemption, signals


def told(signals: StopSignals) -> str:
    """The last rank gets a signal; returns the reason that this rank is to give."""
    if group.rank == last:
        signals.received = "SIGTERM"
    return "SIGTERM" if group.rank == last else OTHER


def a_signal_stops_all_ranks_one_step_later() -> None:
    preemption, signals = begun(4)
    reason = told(signals)
    assert preemption.reason() == ""
    assert preemption.reason() == reason
    preemption.close()


def a_signal_before_the_first_step_stops_before_it() -> None:
    preemption, signals = begun(0)
    reason = told(signals)
    assert preemption.reason() == reason
    preemption.close()


def no_rank_waits_for_another_in_a_step() -> None:
    preemption, _ = begun(2)
    comm = of_mpi(group.comm)
    for _ in range(3):
        # Each rank lets the next one go on only when its own call has returned.
        if group.rank:
            comm.recv(source=group.rank - 1)
        assert preemption.reason() == ""
        if group.rank < last:
            comm.send(None, dest=group.rank + 1)
        group.comm.Barrier()
    preemption.close()


def no_step_follows_a_wait_that_was_given_up() -> None:
    preemption, signals = begun(4)
    reason = told(signals)
    assert preemption.requested() == (group.rank == last)
    assert preemption.reason() == reason
    preemption.close()


def the_end_comes_before_the_agreement() -> None:
    preemption, signals = begun(4)
    told(signals)
    assert preemption.reason() == ""
    preemption.close()


def a_group_that_lost_its_folder_ends_one_step_later() -> None:
    folder = [""]
    signals = StopSignals()
    preemption = Preemption(group, signals, None, lambda: 0.0, lambda: folder[0])
    for _ in range(4):
        assert preemption.reason() == ""
    # Only the group root knows; a signal at the same time does not hide it.
    folder[0] = "" if group.rank else "moved away"
    told(signals)
    assert preemption.reason() == ""
    try:
        preemption.reason()
    except GroupFailedError as error:
        assert error.save
        assert str(error) == ("the group has lost its folder" if group.rank else "moved away")
    else:
        raise AssertionError("it goes on")
    preemption.close()


def a_limit_that_has_passed_leaves_one_step() -> None:
    preemption, _ = begun(1, time_limit=1.0)
    assert preemption.reason() == "the time limit"
    preemption.close()


a_signal_stops_all_ranks_one_step_later()
a_signal_before_the_first_step_stops_before_it()
no_rank_waits_for_another_in_a_step()
no_step_follows_a_wait_that_was_given_up()
the_end_comes_before_the_agreement()
a_group_that_lost_its_folder_ends_one_step_later()
a_limit_that_has_passed_leaves_one_step()
assert group.comm.allreduce(1) == group.size  # the group can still talk
print(f"rank {group.rank} ok", flush=True)
