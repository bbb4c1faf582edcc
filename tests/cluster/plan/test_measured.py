"""The plan against real trainings across two hosts: bytes, which do not depend on the pace.

Planned and measured seconds are in docs/plan.md; `cluster.plan.measure` measures them.
"""

from pathlib import Path

import pytest
from cluster.hosts import Hosts
from cluster.plan.measure import Bench, Setting

from hvcod.cluster.plan.options import PlanOptions

FEW, MANY = 4, 16
LINK = PlanOptions(bandwidth=1e9, latency=1e-4, publish_bandwidth=1e9, publish_to_visible=0.1)


def test_ranks_send_the_bytes_that_were_planned(
    hosts: Hosts, tiny_data: Path, tmp_path: Path
) -> None:
    setting, bench = Setting(bandwidth=1e9), Bench(hosts, tiny_data, tmp_path)

    def sent_in_a_step(groups: int) -> float:
        """Without what starting and ending takes."""
        few, many = (bench.sent_bytes(setting, groups, steps) for steps in (FEW, MANY))
        return (many - few) / (MANY - FEW)

    rows = bench.planned(setting, LINK, compute_s=0.1)
    # Beside gradients only headers and a few small messages.
    assert sent_in_a_step(groups=1) == pytest.approx(rows[1].inside_bytes, rel=0.1)
    assert rows[1].inside_bytes > 5e6
    # Two groups, each on a host of its own, do not use the link in a step.
    assert rows[2].inside_bytes == 0
    assert sent_in_a_step(groups=2) < 0.01 * rows[1].inside_bytes
