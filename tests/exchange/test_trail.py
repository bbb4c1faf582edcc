"""Names of files from the future: they are refused, and the real teacher is not shut out."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from exchange.support import EXPECTED, OURS, arrival_of, put

from hvcod.exchange.poll import Poller
from hvcod.exchange.trail import LAST, LEAP, Trail
from hvcod.tensorfile.steps import checkpoint_path


def test_a_teacher_beyond_the_end_of_the_run_is_refused_and_the_real_one_is_taken(
    tmp_path: Path,
) -> None:
    put(tmp_path, 50)
    put(tmp_path, 99_999_999)
    with closing(Poller({0: tmp_path}, {0: EXPECTED}, OURS, last=1000)) as poller:
        for step in (50, 100, 150):
            put(tmp_path, step)
            poller.look(step)
            assert arrival_of(poller).step == step
        refused = poller.failures[0]["refused"]
    assert refused.count == 1
    path = checkpoint_path(tmp_path, 99_999_999)
    assert refused.last == f"{path}: is beyond the run's last step, 1000"


@pytest.mark.parametrize(
    ("last", "steps", "taken"),
    [
        (1000, [950, 1000], [1000, 950]),
        (1000, [1000, 1001], [1000]),
        (None, [50, LAST], [LAST, 50]),
        (None, [50, LAST + 1, 2**63, 10**40], [50]),
    ],
)
def test_the_run_has_a_last_step(last: int | None, steps: list[int], taken: list[int]) -> None:
    trail = Trail(last=last)
    for look in (50, 100):  # what is refused is named once
        good, refused = trail.fresher(steps, look)
        assert good == taken
        beyond = sorted(set(steps) - set(taken))
        assert list(refused) == (beyond if look == 50 else [])
    assert all("beyond the run's last step" in reason for reason in refused.values())


def test_a_leap_that_no_group_can_make_is_refused_until_it_is_credible() -> None:
    trail = Trail(last=10**6)
    assert trail.fresher([50], 50) == ([50], {})
    trail.took(50)
    # Twice as fast, and with a gap of files that were overtaken: credible.
    assert trail.fresher([50, 400], 100) == ([400], {})
    trail.took(400)
    far = 400 + 50 * LEAP + 1
    reason = f"is {50 * LEAP + 1} steps ahead of the last one, while this group made 50"
    assert trail.fresher([450, far], 150) == ([450], {far: reason})
    assert trail.fresher([450, far], 150) == ([450], {})
    # This group stood still and has begun to catch up.
    assert trail.fresher([far], 200) == ([far], {})


def test_the_first_weights_may_be_of_any_step_of_the_run() -> None:
    for held in (-1, 100):  # a new launch beside a group that is ahead, and a resumed one
        trail = Trail(held, last=10**6)
        assert trail.fresher([900_000], 150) == ([900_000], {})


def test_a_group_that_publishes_lower_steps_is_not_shut_out_by_a_file_from_the_future() -> None:
    trail = Trail(last=1000)
    assert trail.fresher([50, 990], 60)[0] == [990, 50]
    trail.took(990)
    assert trail.fresher([50, 100, 990], 110) == ([], {})  # one name may have been listed late
    reason = "is ahead of its group, which has published step 150 since"
    assert trail.fresher([50, 100, 150, 990], 160) == ([150], {990: reason})
    trail.took(150)
    assert trail.fresher([100, 150, 200, 990], 210) == ([200], {})


def test_a_group_that_goes_on_from_an_older_step_is_not_taken_back() -> None:
    trail = Trail()
    trail.fresher([490], 500)
    trail.took(490)
    for new in (100, 150, 200):
        assert trail.fresher([*range(100, new + 1, 50), 490], 500 + new) == ([], {})
    assert trail.fresher([490, 500], 800) == ([500], {})


@pytest.mark.parametrize("listed", [True, False])
def test_after_useless_weights_only_what_appears_later_is_taken(listed: bool) -> None:
    """Under a higher number or a lower one; at once, and after the group has been resumed."""
    trail = Trail(-1 if listed else 150)
    if listed:
        assert trail.fresher([50, 100, 150], 160)[0] == [150, 100, 50]
        trail.took(150)
    trail.reject(150)
    assert trail.fresher([50, 100, 150], 210) == ([], {})
    assert trail.fresher([50, 100, 120, 150], 220) == ([120], {})
    assert trail.fresher([50, 100, 120, 150, 200], 230) == ([200, 120], {})


def test_weights_that_were_rejected_too_late_change_nothing() -> None:
    trail = Trail()
    trail.fresher([50, 100], 100)
    trail.took(100)
    trail.reject(50)
    assert trail.fresher([50, 100, 150], 150) == ([150], {})


def test_an_old_time_of_a_file_does_not_make_it_older(tmp_path: Path) -> None:

    put(tmp_path, 50)
    os.utime(put(tmp_path, 100), (0, 0))
    with closing(Poller({0: tmp_path}, {0: EXPECTED}, OURS)) as poller:
        poller.look(50)
        assert arrival_of(poller).step == 100
