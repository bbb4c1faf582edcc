"""A training killed at random moments ends with the very weights of one that was not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from faults.kills.harness import KILLS_A_RUN, KilledRun, Setting, Tally, learned
from forkserver.launches import ForkServer

EXACT = ("--staleness", "exact")

SETTINGS = {
    "one rank": Setting(1, 1, 1),
    "two ranks": Setting(1, 2, 1),
    "three ranks": Setting(1, 3, 1),
    "two groups": Setting(1, 4, 2, EXACT),
    "two launches": Setting(2, 2, 2, EXACT),
}

KILLS = {"one rank": (0, 40), "two ranks": (3, 40), "three ranks": (0, 50)}
KILLS |= {"two groups": (3, 50), "two launches": (3, 60)}
"""Every day, and with ``--long``; one rank dies in test_every_call every day."""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_ends_as_an_undisturbed_one(
    fast_mpirun: ForkServer,
    tiny_data: Path,
    tmp_path: Path,
    scale: Callable[[int, int], int],
    name: str,
) -> None:
    setting, wanted = SETTINGS[name], scale(*KILLS[name])
    if not wanted:
        pytest.skip("only with --long")
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone/run"
    expected = KilledRun(fast_mpirun, setting, tiny_data, alone, Tally(), "").finish(0)
    tally = Tally()
    while tally.kills < wanted:
        (tmp_path / f"{tally.runs}").mkdir()
        run = tmp_path / f"{tally.runs}/run"
        allowed = min(KILLS_A_RUN, wanted - tally.kills)
        seed = f"{name} {tally.runs}"
        found = KilledRun(fast_mpirun, setting, tiny_data, run, tally, seed).finish(allowed)
        for group in range(setting.groups):
            assert learned(run, group) == learned(alone, group)
            assert found[group]["weights"] == expected[group]["weights"]
        for errors in run.parent.glob("errors-*"):
            assert "trying the one before it" not in errors.read_text()
    print(f"\n{name}: {tally}")
