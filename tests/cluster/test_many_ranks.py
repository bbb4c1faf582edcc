"""Many ranks in eight groups on one machine: all groups teach all others."""

import json
from collections.abc import Callable
from pathlib import Path

from filesystems.launches import SMALL, step_lines
from forkserver.launches import ForkServer

GROUPS = 8
STEPS, INTERVAL = 20, 5


def test_eight_groups_teach_each_other(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    ranks = scale(16, 64)
    run = tmp_path / "run"
    options: dict[str, object] = {
        **SMALL,
        "batch_size": 1,
        "steps": STEPS,
        "codistill.exchange_interval": INTERVAL,
        "codistill.burn_in": INTERVAL,
        # On a busy machine some groups run ahead: let them wait.
        "codistill.staleness": "exact",
        "log_interval": 5,
    }
    words: list[object] = ["hvcod", "train", "--data", tiny_data, "--run-dir", run, "--json"]
    words += ["--groups", GROUPS]
    words += [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    summaries = json.loads(fast_mpirun(ranks, *words, timeout=600).stdout)

    assert [each["ended"] for each in summaries] == ["finished"] * GROUPS
    assert len({each["weights"] for each in summaries}) == GROUPS
    for group in range(GROUPS):
        others = {str(other) for other in range(GROUPS) if other != group}
        lines = step_lines(run / f"group-{group}")
        assert lines[-1]["step"] == STEPS
        assert lines[-1]["examples"] == STEPS * ranks // GROUPS
        assert set(lines[-1]["teachers"]) == others
        # Never without a teacher again, never back.
        for other in others:
            taught = [x["teachers"][other] for x in lines if other in x["teachers"]]
            assert taught == sorted(taught)
        assert not summaries[group]["problems"].get("not published")
