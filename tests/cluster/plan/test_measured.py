"""The plan against real trainings across a slow link; more of them in docs/plan.md.

The link is so slow that a step consists of waiting for it: what else the machine does adds little.
"""

from pathlib import Path

from cluster.hosts import Hosts
from cluster.plan.measure import Bench, Setting

BANDWIDTH = 5e6
"""The gradients of a step, 5.7 MB, take 1.1 s."""

FACTOR = 1.5


def test_a_step_takes_as_long_as_was_planned(hosts: Hosts, tiny_data: Path, tmp_path: Path) -> None:
    setting = Setting(bandwidth=BANDWIDTH)
    bench = Bench(hosts, tiny_data, tmp_path)
    try:
        report = bench.network(setting)
        alone = bench.step_s(setting, groups=2, steps=12)
        across = bench.step_s(setting, groups=1, steps=4)
        rows = bench.planned(setting, report, alone)
    finally:
        hosts.limit(1e9)
    planned = rows[1].burn_in_step_s
    assert planned / FACTOR < across < planned * FACTOR, (alone, planned, across)
    # The link is what the step waits for, and two groups, which do not use it, are faster.
    assert across > 2 * alone
    assert rows[2].burn_in_step_s == alone
