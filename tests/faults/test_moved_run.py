"""A run directory is moved away while it is trained, and another run takes its place."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forkserver.launches import ForkServer, Launch

from hvcod.tensorfile.steps import list_steps

WORDS = ["--batch-size", 2, "--log-interval", 1, "--save-interval", 1, "--keep-states", 1]
WORDS += ["--validation-interval", 10**6, "--validation-examples", 8, "--json"]
WORDS += ["--set", "model.hidden=8", "--set", "model.embedding=8"]


def wait_for(launch: Launch, condition: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert launch.poll() is None, "the launch ended early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def contents(run: Path) -> dict[str, bytes]:
    files = (path for path in run.rglob("*") if path.is_file())
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def test_nothing_of_the_other_run_is_touched_and_the_moved_one_goes_on(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path: Path, scale: Callable[[int, int], int]
) -> None:
    """Every day `training/run/test_owner.py` shows the same without ranks."""
    if not scale(0, 1):
        pytest.skip("only with --long")
    run, other, moved = tmp_path / "run", tmp_path / "other", tmp_path / "moved"

    def train(steps: int, folder: Path) -> Launch:
        words = ["train", "--data", tiny_data, "--run-dir", folder, "--steps", steps, *WORDS]
        return fast_mpirun.start(2, "hvcod", *words)

    assert train(3, other).wait(timeout=300) == 0
    # States of all steps, of which one that prunes by number alone would leave none.
    for step in range(1, 3):
        shutil.copy(
            other / "group-0/state/step-00000003.h5", other / f"group-0/state/step-{step:08}.h5"
        )
    before = contents(other)
    launch = train(10**6, run)
    metrics = run / "group-0/metrics.jsonl"
    wait_for(launch, lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 20)
    run.rename(moved)
    other.rename(run)
    out, errors = launch.communicate(timeout=300)
    assert launch.returncode == 1
    (summary,) = json.loads(out)
    assert summary["ended"] == "failed"
    where = f"{run / 'group-0'} was moved away while it was trained; its last state is saved where "
    assert summary["reason"].startswith(f"{where}it is now ({moved / 'group-0'})")
    assert errors.count(where) == 2  # when it was noticed, and at the end
    assert contents(run) == before
    assert list_steps(moved / "group-0/state") == [summary["steps"]]
    last = json.loads((moved / "group-0/metrics.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["step"]) == ("failed", summary["steps"])
    assert not (moved / "group-0/owner.json").exists()
    assert train(summary["steps"] + 2, moved).wait(timeout=300) == 0
